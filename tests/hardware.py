"""What some tests need of the machine."""

from __future__ import annotations

import pytest
import torch

needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN has no bfloat16 for this CPU; torch's own takes ten minutes",
)
"""For tests that set ``lvm.devices.bf16_available`` to true."""

"""Linear layers with weights packed for oneDNN: a CPU multiplies them faster than weights as torch stores them.

Contract: packed layers compute what the layers computed, up to rounding. Where gradients are needed the plain layer is
used. Packed weights are a copy: the layer's weights must not change afterwards.

torch's own float32 product is MKL's, which took 2 to 9 times as long on the AMD CPU where it was measured. In bfloat16
oneDNN packs plain weights anew in every call; packed once, an encoder takes 11 % less time for the same vectors. GELU
in the same step was no faster, and less exact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Linear = Callable[[Tensor], Tensor]

_TYPICAL_ROWS = 16  # rows of a product, for oneDNN's choice of a layout


def packed(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """A linear layer without gradients, with packed weights if the CPU's library packs them.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,) or None.
    """
    weight = weight.detach()
    onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if onednn and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16):
        ready = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _TYPICAL_ROWS)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, ready, bias, "none", [], "")
    return lambda x: F.linear(x, weight, bias)


class PackedLinear(nn.Linear):
    """A linear layer that uses packed weights where no gradients are needed.

    Args:
        layer: gives the weights, which are shared.
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._packed = packed(layer.weight, layer.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return super().forward(input) if torch.is_grad_enabled() else self._packed(input)


def pack(network: nn.Module) -> None:
    """Replace all linear layers inside a network by packed ones."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))

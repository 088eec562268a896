"""Linear layers with weights packed for oneDNN: a CPU multiplies them faster than weights as torch stores them.

Contract: packed layers compute what the layers computed, up to rounding. Where gradients are needed the plain layer is
used. Packed weights are a copy: the layer's weights must not change afterwards.

torch's own float32 product is MKL's, which took 2 to 9 times as long on the AMD CPU where it was measured. In bfloat16
oneDNN packs plain weights anew in every call; packed once, with the GELU of a transformer's layer in the same step, an
encoder takes 18 % less time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Linear = Callable[[Tensor], Tensor]

_TYPICAL_ROWS = 16  # rows of a product, for oneDNN's choice of a layout


def packed(weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Linear:
    """A linear layer without gradients, with packed weights if the CPU's library packs them.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,) or None.
        gelu: apply GELU to the outputs.
    """
    weight = weight.detach()
    onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if onednn and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16):
        ready = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _TYPICAL_ROWS)
        after, how = ("gelu", "none") if gelu else ("none", "")  # "none": not the approximation by tanh
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, ready, bias, after, [], how)
    if gelu:
        return lambda x: F.gelu(F.linear(x, weight, bias))
    return lambda x: F.linear(x, weight, bias)


class PackedLinear(nn.Linear):
    """A linear layer that uses packed weights where no gradients are needed.

    Args:
        layer: gives the weights, which are shared.
        gelu: apply GELU to the outputs.
    """

    def __init__(self, layer: nn.Linear, gelu: bool = False) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._gelu, self._packed = gelu, packed(layer.weight, layer.bias, gelu=gelu)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if not torch.is_grad_enabled():
            return self._packed(input)
        outputs = super().forward(input)
        return F.gelu(outputs) if self._gelu else outputs


def pack(network: nn.Module) -> None:
    """Replace all linear layers inside a network by packed ones. A GELU after a layer becomes a part of it."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                gelu = name == "dense" and _is_gelu(getattr(module, "intermediate_act_fn", None))
                setattr(module, name, PackedLinear(child, gelu))
                if gelu:
                    module.intermediate_act_fn = nn.Identity()


def _is_gelu(activation: object) -> bool:
    """Whether an activation of transformers is the exact GELU."""
    return getattr(activation, "act", None) is F.gelu

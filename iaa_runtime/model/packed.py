"""Weights in the order in which a CPU's matrix product walks through them (oneDNN's packed layouts).

In rows or columns a product with a few vectors keeps to one core, or rearranges the weights each time. Packed once, as
they are read, every product runs at the rate of memory or arithmetic: measured in benchmarks/README.md.
"""

from __future__ import annotations

import platform
import re

import torch
from torch import Tensor, nn

PACKED = re.compile(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")
"""Names, in a bank, of the matrices that are packed: those of the decoder blocks. The tower's begin with ``tower.``."""

OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this processor and this build of torch multiply packed weights of ``dtype`` on ``device``.

    The two operators are those that torch's own compiler emits for a CPU. They have no public name, so a build without
    them is no error: weights stay in rows there.
    """
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def fast_in_bf16() -> bool:
    """Whether bfloat16 is the faster dtype on this CPU: it has instructions for it, and weights can be packed."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(native()) and can_pack(torch.bfloat16, torch.device("cpu"))


class PackedLinear(nn.Module):
    """A linear layer without bias whose weight is packed. It has no gradient, and its weight cannot leave the CPU.

    Takes the arguments of :class:`torch.nn.Linear`. ``weight`` (O, M) is opaque: it has shape, dtype and bytes, but no
    elements that could be looked at; ``weight.to_dense()`` gives them back.
    """

    weight: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        assert not bias, "no block matrix has a bias"
        self.register_buffer("weight", torch.empty((out_features, in_features), dtype=dtype, device=device))

    @staticmethod
    def pack(weight: Tensor) -> Tensor:
        """Rows of weights (O, M) -> the same, packed. A copy."""
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        return packed

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out

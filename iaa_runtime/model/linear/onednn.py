"""Linear layers for a CPU, multiplied by oneDNN whatever the number of rows.

torch gives a float32 product to MKL, which keeps one vector to one core, and a bfloat16 product to oneDNN, which then
rearranges the weight at every call. Here float32 goes to oneDNN too, and weights are rearranged ("packed") once, as
they are read. benchmarks/README.md has the figures.
"""

from __future__ import annotations

import platform
import re

import torch
from torch import Tensor, nn

MATRICES = re.compile(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")
"""Names, in a bank, of the decoder blocks' matrices, which these layers hold. The tower's begin with ``tower.``."""

OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")
"""Those that torch's own compiler emits for a CPU. They have no public name, so a build may be without them."""


def can_multiply(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this processor and this build of torch have what these layers need; else plain ones do their work."""
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def fast_in_bf16() -> bool:
    """Whether bfloat16 is the faster dtype on this CPU: it has instructions for it, and torch a use for them."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(native()) and can_multiply(torch.bfloat16, torch.device("cpu"))


class OneDNNLinear(nn.Module):
    """A linear layer without bias, and without gradients. Takes the arguments of :class:`torch.nn.Linear`.

    A packed ``weight`` (O, M) is opaque: it has shape, dtype and bytes, but no elements that could be looked at.
    ``weight.to_dense()`` gives them back.
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
    def packs(stored: torch.dtype, wanted: torch.dtype) -> bool:
        """Whether weights that a file has in ``stored`` are packed, which is a copy, to be used in ``wanted``.

        Those that are float32 in both stay views of the file: one vector multiplies them as fast in rows.
        """
        return not stored == wanted == torch.float32

    @staticmethod
    def pack(weight: Tensor) -> Tensor:
        """Rows of weights (O, M) -> the same, packed. A copy."""
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        return packed

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out

"""Linear layers for a CPU, multiplied by oneDNN whatever the number of rows.

torch gives a float32 product to MKL, which keeps one vector to one core where Intel did not make it, and a bfloat16
product to oneDNN, which then rearranges the weight at every call. Here float32 goes to oneDNN too, but on Intel's own
processors, and weights are rearranged ("packed") once, when they are loaded. benchmarks/README.md has the figures.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .base import Layout, SpecialLinear, Weights

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


class OneDNNLinear(SpecialLinear):
    """A linear layer without bias, and without gradients.

    A packed ``weight`` (O, M) is opaque: it has shape, dtype and bytes, but no elements that could be looked at.
    ``weight.to_dense()`` gives them back.
    """

    weight: Tensor

    def _hold(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor)  # a packed tensor cannot be a parameter

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """See :meth:`SpecialLinear.tensors`."""
        return {"weight": ((out_features, in_features), dtype)}

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Packs weights, which copies them; float32 ones that are wanted so stay views of the file.

        One vector multiplies those as fast in rows.
        """
        views = [name for name in names if weights.stored_dtype(name) == dtype == torch.float32]
        yield from weights.load(views)
        for name, weight in weights.load([name for name in names if name not in set(views)], transient=True):
            yield name, cls.pack(weight)

    @staticmethod
    def pack(weight: Tensor) -> Tensor:
        """Rows of weights (O, M) -> the same, packed. A copy."""
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        return packed

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out

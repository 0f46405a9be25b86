"""8-bit weights for a CPU that multiplies 8-bit integers (VNNI), by oneDNN: activations are rounded to 8 bits too."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from functools import cache

import torch
from torch import Tensor

from .base import SpecialLinear, Weights
from .int8 import LARGEST, Int8Linear
from .quantized import scale_name

OPERATORS = ("qlinear_prepack", "qlinear_pointwise")
"""Those that torch's own compiler emits for quantized layers. They have no public name, as in :mod:`.onednn`."""

ZERO = 128
"""What stands for 0 in unsigned activations: signed ones take oneDNN's slow way."""


@cache
def can_multiply_integers() -> bool:
    """Whether this CPU has instructions for sums of 8-bit products, and this build of torch uses them.

    AVX2 alone is not enough: its 16-bit sums saturate.
    """
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or platform.machine() not in ("x86_64", "AMD64") or not vnni():
        return False
    return all(hasattr(torch.ops.onednn, name) for name in OPERATORS)


class OneDNNInt8Linear(SpecialLinear):
    """Whole numbers from -127 to 127, a scale a row; each token is rounded to 8 bits with a scale of its own.

    Of normally distributed numbers the product is about a hundredth off, mostly for the tokens' rounding. The packed
    ``weight`` (M, O) is opaque: it has shape, dtype and bytes, but no elements that could be looked at.
    """

    weight: Tensor
    weight_scale: Tensor

    def _hold(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor.t() if name == "weight" else tensor)  # packed, it cannot be a parameter

    @classmethod
    def tensors(
        cls, in_features: int, out_features: int, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See :meth:`SpecialLinear.tensors`."""
        return Int8Linear.tensors(in_features, out_features, dtype)

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Packs what :class:`Int8Linear` would keep."""
        for name, weight, scale in Int8Linear.quantized(weights, names):
            yield name, torch.ops.onednn.qlinear_prepack(weight, None)
            yield scale_name(name), scale

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        tokens = x.reshape(-1, self.in_features)
        largest = tokens.abs().amax(-1, keepdim=True).float().clamp_min(1e-30)  # of zeros, too
        whole = (tokens * (LARGEST / largest)).round_().add_(ZERO).to(torch.uint8)
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        # float16 could not hold sums that wait for their tokens' scale.
        summed = x.dtype if x.dtype == torch.bfloat16 else torch.float32
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, ZERO, self.weight, self.weight_scale[:, 0], zeros, None, 1.0, 0, summed, "none", [], ""
        )
        return product.mul_(largest / LARGEST).to(x.dtype).view(*x.shape[:-1], -1)

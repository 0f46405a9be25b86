"""Weights as whole numbers of 8 bits, a scale a row; on a CPU that can, activations too, a scale a token."""

from __future__ import annotations

import platform
from functools import cache

import torch
from torch import Tensor

from .quantized import QuantizedLinear, usable_scale

LARGEST = 127


class Int8Linear(QuantizedLinear):
    """Whole numbers from -127 to 127, a scale a row."""

    @classmethod
    def stored(cls, in_features: int) -> tuple[int, torch.dtype]:
        """See :meth:`QuantizedLinear.stored`."""
        return in_features, torch.int8

    @classmethod
    def quantize(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        scale = usable_scale(rows.abs().amax(-1, keepdim=True) / LARGEST, dtype)
        return (rows.float() / scale.float()).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.product`, by :func:`integer_product` where the processor is made for it."""
        if x.is_cpu and has_integer_product():
            return integer_product(x, weight, scale)
        return super().product(x, weight, scale)


def integer_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Multiplies in whole numbers: each token (row of ``x``) is rounded to 8 bits with a scale of its own.

    Args:
        x: (..., M), any float dtype.
        weight: (O, M) int8.
        scale: (O, 1).

    Returns:
        (..., O) in the dtype of ``x``; of normally distributed numbers about a hundredth off.
    """
    tokens = x.reshape(-1, x.shape[-1])
    largest = tokens.abs().amax(-1, keepdim=True).float().clamp_min(torch.finfo(torch.float32).tiny)
    whole = (tokens * (LARGEST / largest)).round().to(torch.int8)
    sums = torch._int_mm(whole, weight.t())
    product = sums.float() * (largest / LARGEST) * scale[:, 0].float()
    return product.to(x.dtype).view(*x.shape[:-1], -1)


@cache
def has_integer_product() -> bool:
    """Whether this CPU has instructions for sums of 8-bit products (VNNI), and this build of torch uses them.

    Without them the product is slow, and on AVX2 its 16-bit sums may saturate.
    """
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    built = torch.backends.mkldnn.is_available() and hasattr(torch, "_int_mm")  # type: ignore[no-untyped-call]
    return bool(built) and platform.machine() in ("x86_64", "AMD64") and bool(vnni())

"""Weights as whole numbers of 8 bits, a scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

from .quantized import QuantizedLinear, usable_scale

LARGEST = 127
FEW_ROWS = 8
"""Rows up to which the CPU's product of bfloat16 with 8-bit weights beats dequantizing them."""


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
        """Like :meth:`QuantizedLinear.product`; few bfloat16 rows on the CPU use the bytes as they are."""
        rows = x.numel() // x.shape[-1]
        if x.dtype == torch.bfloat16 and x.is_cpu and rows <= FEW_ROWS:
            return torch._weight_int8pack_mm(x.reshape(rows, -1), weight, scale[:, 0]).view(*x.shape[:-1], -1)
        return super().product(x, weight, scale)

"""Weights as whole numbers of 8 bits, a scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Layout
from .comfy_kitchen import int8_product, kitchen_for
from .quantized import QuantizedLinear, usable_scale

LARGEST = 127
FEW_ROWS = 8
"""Rows up to which the CPU's product of bfloat16 with 8-bit weights beats dequantizing them."""


class Int8Linear(QuantizedLinear):
    """Whole numbers from -127 to 127, a float32 scale a row."""

    FORMAT = "int8_tensorwise"

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """See :meth:`SpecialLinear.tensors`."""
        return {"weight": ((out_features, in_features), torch.int8), cls.SCALE: ((out_features, 1), torch.float32)}

    @classmethod
    def quantize(cls, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        rows = rows.float()  # 8-bit floats have no absolute value
        scale = usable_scale(rows.abs().amax(-1, keepdim=True) / LARGEST)
        return (rows / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.product`; few bfloat16 rows on the CPU use the bytes as they are."""
        if kitchen := kitchen_for(x, "int8_linear"):
            return int8_product(kitchen, x, weight, scale)
        rows = x.numel() // x.shape[-1]
        if x.dtype == torch.bfloat16 and x.is_cpu and rows <= FEW_ROWS:
            scales = scale[:, 0].to(x.dtype)
            return torch._weight_int8pack_mm(x.reshape(rows, -1), weight, scales).view(*x.shape[:-1], -1)
        return super().product(x, weight, scale)

"""Weights as whole numbers of 8 bits, a scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

from .quantized import QuantizedLinear, usable_scale

FEW_ROWS = 8
"""Rows up to which the CPU's own int8 product beats dequantizing the weights."""


class Int8Linear(QuantizedLinear):
    """Whole numbers from -127 to 127, a scale a row."""

    @classmethod
    def tensors(cls, in_features: int, dtype: torch.dtype) -> dict[str, tuple[int, torch.dtype]]:
        """See :meth:`SpecialLinear.tensors`."""
        return {"weight": (in_features, torch.int8), "scale": (1, dtype)}

    @classmethod
    def quantize(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        scale = usable_scale(rows.abs().amax(-1, keepdim=True) / 127, dtype)
        return (rows.float() / scale.float()).round().clamp(-127, 127).to(torch.int8), scale

    def forward(self, x: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.forward`; few bfloat16 rows on the CPU use the bytes as they are."""
        rows = x.numel() // self.in_features
        if x.dtype == torch.bfloat16 and x.is_cpu and rows <= FEW_ROWS:
            flat = torch._weight_int8pack_mm(x.reshape(rows, -1), self.weight.to("cpu"), self.scale.to(x)[:, 0])
            return flat.view(*x.shape[:-1], self.out_features)
        return super().forward(x)

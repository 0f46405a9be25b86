"""Weights as 8-bit floats, a scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

from .quantized import QuantizedLinear, usable_scale


class Fp8Linear(QuantizedLinear):
    """8-bit floats, e4m3 (4 bits of exponent, 3 of mantissa), scaled so that a row's largest is the format's, 448."""

    @classmethod
    def stored(cls, in_features: int) -> tuple[int, torch.dtype]:
        """See :meth:`QuantizedLinear.stored`."""
        return in_features, torch.float8_e4m3fn

    @classmethod
    def quantize(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        largest = torch.finfo(torch.float8_e4m3fn).max
        scale = usable_scale(rows.abs().amax(-1, keepdim=True) / largest, dtype)
        return (rows.float() / scale.float()).clamp(-largest, largest).to(torch.float8_e4m3fn), scale

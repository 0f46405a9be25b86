"""Weights as 8-bit floats, with one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from .quantized import Chunks, QuantizedLinear, usable_scale

LARGEST = torch.finfo(torch.float8_e4m3fn).max


class Fp8Linear(QuantizedLinear):
    """8-bit floats, e4m3 (4 bits of exponent, 3 of mantissa), scaled so that the weight's largest is the format's, 448.

    One float32 scale is enough: rows a thousand times smaller are in the format's range.
    """

    FORMAT = "float8_e4m3fn"

    @classmethod
    def tensors(
        cls, in_features: int, out_features: int, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See :meth:`SpecialLinear.tensors`."""
        return {"weight": ((out_features, in_features), torch.float8_e4m3fn), cls.SCALE: ((), torch.float32)}

    @classmethod
    def quantize(cls, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        return cls.quantizer(lambda: [rows])(rows)

    @classmethod
    def quantizer(cls, chunks: Chunks) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """See :meth:`QuantizedLinear.quantizer`."""
        largest = torch.stack([rows.float().abs().max() for rows in chunks()]).max()
        scale = usable_scale(largest / LARGEST)
        return lambda rows: ((rows.float() / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale)

    @classmethod
    def join(cls, scales: Sequence[Tensor]) -> Tensor:
        """See :meth:`QuantizedLinear.join`."""
        return scales[0]

    @classmethod
    def dequantize(cls, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """See :meth:`QuantizedLinear.dequantize`."""
        return weight.to(dtype) * scale.to(dtype)

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.product`; a GPU that multiplies 8-bit floats gets activations rounded to them."""
        if x.is_cuda and _multiplies(x.device) and not (weight.shape[0] % 16 or weight.shape[1] % 16):
            rows = x.reshape(-1, x.shape[-1])
            rounded, rows_scale = cls.quantize(rows)
            product = torch._scaled_mm(rounded, weight.t(), scale_a=rows_scale, scale_b=scale, out_dtype=x.dtype)
            return product.view(*x.shape[:-1], -1)
        return super().product(x, weight, scale.expand(len(weight), 1))


@cache
def _multiplies(device: torch.device) -> bool:
    """Whether this CUDA device multiplies 8-bit floats: Ada and later. AMD's are of another format."""
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 9)

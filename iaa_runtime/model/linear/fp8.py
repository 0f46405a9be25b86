"""Weights as 8-bit floats, with one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from .base import Layout
from .quantized import Chunks, QuantizedLinear, usable_scale

LARGEST = torch.finfo(torch.float8_e4m3fn).max


class Fp8Linear(QuantizedLinear):
    """8-bit floats, e4m3 (4 bits of exponent, 3 of mantissa), scaled so that the weight's largest is the format's, 448.

    One float32 scale is enough: rows a thousand times smaller are in the format's range.
    """

    FORMAT = "float8_e4m3fn"

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
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
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.product`; a GPU that multiplies 8-bit floats gets activations rounded to them."""
        if x.is_cuda and _multiplies(x.device) and not (weight.shape[0] % 16 or weight.shape[1] % 16):
            return rounded_product(x, weight, scale)
        return super().product(x, weight, scale.expand(len(weight), 1))


def rounded_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """``x`` (..., M) rounded to 8-bit floats times ``weight`` (O, M) as stored -> (..., O), in the dtype of ``x``.

    Each row is rounded as it would be alone. What its neighbours may still change is the order in which its products
    are added, as in every dtype: a GPU chooses that by the number of rows.
    """
    rounded, scales = round_rows(x.reshape(-1, x.shape[-1]))
    wide = torch.float32 if x.dtype == torch.float16 else x.dtype  # which sums without their scale might leave
    product = torch._scaled_mm(rounded, weight.t(), scale_a=scale.new_ones(()), scale_b=scale, out_dtype=wide)
    return product.mul_(scales).to(x.dtype).view(*x.shape[:-1], -1)


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Activations (T, M) -> 8-bit floats (T, M) and their scales (T, 1) in float32, each of its row alone.

    Scales are powers of two, by which numbers are divided and multiplied without being rounded. A row's largest number
    lies in 128..256 then; what is less than some 2 ** -13 of it is rounded more coarsely, and to 0 below 2 ** -18.
    """
    largest = rows.abs().amax(-1, keepdim=True).float()
    power = (largest.view(torch.int32) & 0x7F800000).view(torch.float32)  # the exponent's bits alone
    scales = usable_scale(power / 128)
    return (rows.float() / scales).to(torch.float8_e4m3fn), scales


@cache
def _multiplies(device: torch.device) -> bool:
    """Whether this CUDA device multiplies 8-bit floats: Ada and later. AMD's are of another format."""
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 9)

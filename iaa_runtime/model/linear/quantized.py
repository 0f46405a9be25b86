"""What linear layers with weights of 8 or 4 bits have in common: they keep them so and dequantize as they multiply.

Symbols: M inputs, O outputs of a layer, G the inputs that share a scale.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SpecialLinear, Weights

DEQUANTIZED, DEQUANTIZED_ON_CPU = 1 << 24, 1 << 20
"""Weights dequantized at once: on an accelerator a kernel's worth, on the CPU what stays in its caches."""


class QuantizedLinear(SpecialLinear):
    """A linear layer whose weight is stored as integers or 8-bit floats, and scales in the model's dtype.

    Attributes:
        SCALE: what the tensor of scales is called, beside ``weight``. A host may want a name that it knows.
    """

    SCALE: ClassVar[str] = "scale"
    weight: Tensor

    @classmethod
    def tensors(cls, in_features: int, dtype: torch.dtype) -> dict[str, tuple[int, torch.dtype]]:
        """See :meth:`SpecialLinear.tensors`."""
        return {"weight": cls.stored(in_features), cls.SCALE: (cls.scales(in_features), dtype)}

    @classmethod
    @abstractmethod
    def stored(cls, in_features: int) -> tuple[int, torch.dtype]:
        """Elements that a row of ``in_features`` (M) weights takes as stored, and their dtype."""

    @classmethod
    def scales(cls, in_features: int) -> int:
        """Scales that a row of ``in_features`` (M) weights has."""
        return 1

    @classmethod
    @abstractmethod
    def quantize(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Rows of weights (O, M) -> the same as stored, and their scales, already rounded to ``dtype``."""

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Quantizes weights chunk by chunk, so that no full-precision copy of one is ever held."""
        for name in names:
            quantized, scales = zip(*(cls.quantize(rows, dtype) for rows in weights.chunks(name)), strict=True)
            yield name, torch.cat(quantized)
            yield name.removesuffix("weight") + cls.SCALE, torch.cat(scales)

    @classmethod
    def working_bytes(cls, dtype: torch.dtype) -> int:
        """Bytes of the weights dequantized at once, in three forms on their way to ``dtype``."""
        return 3 * dtype.itemsize * DEQUANTIZED

    @classmethod
    def dequantize(cls, weight: Tensor, scale: Tensor) -> Tensor:
        """Rows as stored, with their scales (rows, 1) -> rows of weights (rows, M) in the scales' dtype."""
        return weight.to(scale.dtype) * scale

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """``x`` (..., M) times the weight as stored -> (..., O), in the dtype of ``x``, which is the scales'.

        This is the reference: weights are dequantized some rows at a time, so that no scale meets a sum, which without
        it would leave float16's range.
        """
        step = max(1, (DEQUANTIZED_ON_CPU if x.is_cpu else DEQUANTIZED) // x.shape[-1])
        parts = zip(torch.split(weight, step), torch.split(scale, step), strict=True)
        return torch.cat([F.linear(x, cls.dequantize(*part)) for part in parts], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        return self.product(x, self.weight, getattr(self, self.SCALE))


def usable_scale(wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """``wanted`` in ``dtype``; 1 where all weights are 0, or so small that their scale would be."""
    scale = wanted.to(dtype)
    return torch.where(scale == 0, torch.ones_like(scale), scale)

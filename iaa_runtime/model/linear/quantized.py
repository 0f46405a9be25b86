"""What linear layers with weights of 8 or 4 bits have in common: they keep them so and dequantize as they multiply.

Symbols: M inputs, O outputs of a layer, G the inputs that share a scale.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SpecialLinear, Weights

DEQUANTIZED, DEQUANTIZED_ON_CPU = 1 << 24, 1 << 20
"""Weights dequantized at once: on an accelerator a kernel's worth, on the CPU what stays in its caches."""


class QuantizedLinear(SpecialLinear):
    """A linear layer whose weight is stored as integers or 8-bit floats, and scales in the model's dtype.

    Both are buffers, so that a host counts and moves them; those left on another device are fetched.
    """

    weight: Tensor
    scale: Tensor

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
            yield name.removesuffix("weight") + "scale", torch.cat(scales)

    @classmethod
    def working_bytes(cls, dtype: torch.dtype) -> int:
        """Bytes of the weights dequantized at once, in three forms on their way to ``dtype``."""
        return 3 * dtype.itemsize * DEQUANTIZED

    @classmethod
    def multiply(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """``x`` (..., M) times some rows as stored -> (..., rows); a row's scale is applied to its sum."""
        return F.linear(x, weight.to(x.dtype)) * scale[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        weight, scale = self.weight.to(x.device), self.scale.to(x)
        step = max(1, (DEQUANTIZED_ON_CPU if x.is_cpu else DEQUANTIZED) // self.in_features)
        parts = zip(torch.split(weight, step), torch.split(scale, step), strict=True)
        return torch.cat([self.multiply(x, *part) for part in parts], dim=-1)


def usable_scale(wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """``wanted`` in ``dtype``; 1 where all weights are 0, or so small that their scale would be."""
    scale = wanted.to(dtype)
    return torch.where(scale == 0, torch.ones_like(scale), scale)

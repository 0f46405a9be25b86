"""What linear layers with weights of 8 or 4 bits have in common: they keep them so and dequantize as they multiply.

Symbols: M inputs, O outputs of a layer, G the inputs that share a scale.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SpecialLinear, Weights

DEQUANTIZED, DEQUANTIZED_ON_CPU = 1 << 24, 1 << 20
"""Weights dequantized at once: on an accelerator a kernel's worth, on the CPU what stays in its caches."""

Chunks = Callable[[], Iterable[Tensor]]
"""A weight in chunks of rows, each time it is called."""

SCALE = "weight_scale"
"""What the tensor of scales is called beside ``weight``, in a converted checkpoint and in a layer."""


class QuantizedLinear(SpecialLinear):
    """A linear layer whose weight is stored as integers or 8-bit floats, with scales beside it.

    Attributes:
        SCALE: what the tensor of scales is called in the layer. A host may want a name that it knows.
        FORMAT: what a converted checkpoint calls this form of a weight (``comfy_quant``).
    """

    SCALE: ClassVar[str] = SCALE
    FORMAT: ClassVar[str]
    weight: Tensor

    @classmethod
    def format(cls, in_features: int) -> dict[str, object]:
        """What a converted checkpoint says of a weight of ``in_features`` (M) columns."""
        return {"format": cls.FORMAT}

    @classmethod
    @abstractmethod
    def quantize(cls, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of weights (O, M) -> the same as stored, and their scales."""

    @classmethod
    def quantizer(cls, chunks: Chunks) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """What quantizes the chunks of a weight one by one; it may look at all of them before."""
        return cls.quantize

    @classmethod
    def join(cls, scales: Sequence[Tensor]) -> Tensor:
        """The scales of a weight, from those of its chunks."""
        return torch.cat(list(scales))

    @classmethod
    def dequantize(cls, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows as stored, with their scales -> rows of weights (rows, M) in ``dtype``."""
        return weight.to(dtype) * scale.to(dtype)

    @classmethod
    def quantized(
        cls, weights: Weights, names: Iterable[str], *, transient: bool = False
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yields a name, the weight as stored and its scales: as they lie on disk, or quantized now.

        The latter goes chunk by chunk, so that no full-precision copy of a weight is ever held. With ``transient``,
        each weight is valid until the next one only.
        """
        if weights.quantized:
            names = list(names)
            scales = dict(weights.as_stored(map(scale_name, names)))
            for name, weight in weights.as_stored(names, transient=transient):
                yield name, weight, scales[scale_name(name)]
            return
        for name in names:
            chunks = partial(weights.chunks, name)
            weight_parts, scale_parts = zip(*map(cls.quantizer(chunks), chunks()), strict=True)
            yield name, torch.cat(weight_parts), cls.join(scale_parts)

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """See :meth:`SpecialLinear.load`."""
        for name, weight, scale in cls.quantized(weights, names):
            yield name, weight
            yield scale_name(name, cls.SCALE), scale

    @classmethod
    def working_bytes(cls, dtype: torch.dtype) -> int:
        """Bytes of the weights dequantized at once, in three forms on their way to ``dtype``."""
        return 3 * dtype.itemsize * DEQUANTIZED

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """``x`` (..., M) times the weight as stored -> (..., O), in the dtype of ``x``.

        This is the reference: weights are dequantized some rows at a time, so that no scale meets a sum, which without
        it would leave float16's range.
        """
        step = max(1, (DEQUANTIZED_ON_CPU if x.is_cpu else DEQUANTIZED) // x.shape[-1])
        parts = zip(torch.split(weight, step), torch.split(scale, step), strict=True)
        return torch.cat([F.linear(x, cls.dequantize(*part, x.dtype)) for part in parts], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        return self.product(x, self.weight, getattr(self, self.SCALE))


def scale_name(name: str, scale: str = SCALE) -> str:
    """The name of the scales that belong to a weight."""
    return name.removesuffix("weight") + scale


def usable_scale(wanted: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``wanted`` in ``dtype``; 1 where all weights are 0, or so small that their scale would be."""
    scale = wanted.to(dtype)
    return torch.where(scale == 0, torch.ones_like(scale), scale)

"""Weights in 8 or 4 bits: linear layers that keep them so and widen them as they multiply.

What shrinks: the seven matrices of every decoder block, base and adaptors alike, and the LM head. What stays in the
model's dtype: embeddings, norms, projectors and the vision tower, which together are a tenth of an 8B task and carry
most of the risk. The head never goes below 8 bits. A precision is about memory; activations, KV cache and sums stay in
the model's dtype.

Symbols: M inputs, O outputs of a layer, G the inputs that share a scale.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from .onednn import MATRICES

INT4_GROUP = 32
"""G of 4-bit weights: with a 16-bit scale each, 4.5 bits a weight."""

WIDENED, WIDENED_ON_CPU = 1 << 24, 1 << 20
"""Weights that are widened at once: on an accelerator a kernel's worth, on the CPU what stays in its caches."""

FEW_ROWS = 8
"""Rows up to which the CPU's own int8 product beats widening the weights."""

SHRUNK = re.compile(rf"{MATRICES.pattern}|lm_head\.weight")
"""Names, in a bank, of the matrices that shrink."""


class QuantizedLinear(nn.Module, ABC):
    """A linear layer without bias whose weight is stored as integers or 8-bit floats, and scales.

    Takes the arguments of :class:`torch.nn.Linear`, so that it can stand in an ``ops`` namespace. ``weight`` and
    ``scale`` are buffers, so a host counts and moves them; one that left them on another device has them fetched.
    """

    name: ClassVar[str]
    stored: ClassVar[torch.dtype]
    weight: Tensor
    scale: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        assert not bias, "no block matrix has a bias"
        self.in_features, self.out_features = in_features, out_features
        columns, scales = self.widths(in_features)
        self.register_buffer("weight", torch.empty((out_features, columns), dtype=self.stored, device=device))
        self.register_buffer("scale", torch.empty((out_features, scales), dtype=dtype, device=device))

    @classmethod
    def widths(cls, inputs: int) -> tuple[int, int]:
        """Elements that a row of ``inputs`` (M) weights takes: as stored, and of scales."""
        return inputs, 1

    @classmethod
    @abstractmethod
    def shrink(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Rows of weights (O, M) -> the same as stored, and their scales, already rounded to ``dtype``."""

    @classmethod
    def multiply(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """``x`` (..., M) times some rows as stored -> (..., rows); a row's scale is applied to its sum."""
        return F.linear(x, weight.to(x.dtype)) * scale[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        weight, scale = self.weight.to(x.device), self.scale.to(x)
        step = max(1, (WIDENED_ON_CPU if x.is_cpu else WIDENED) // self.in_features)
        parts = zip(torch.split(weight, step), torch.split(scale, step), strict=True)
        return torch.cat([self.multiply(x, *part) for part in parts], dim=-1)


class Fp8Linear(QuantizedLinear):
    """8-bit floats, e4m3 (4 bits of exponent, 3 of mantissa), scaled so that a row's largest is the format's, 448."""

    name = "fp8"
    stored = torch.float8_e4m3fn

    @classmethod
    def shrink(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.shrink`."""
        largest = torch.finfo(cls.stored).max
        scale = _scale(rows.abs().amax(-1, keepdim=True) / largest, dtype)
        return (rows.float() / scale.float()).clamp(-largest, largest).to(cls.stored), scale


class Int8Linear(QuantizedLinear):
    """Whole numbers from -127 to 127, a scale a row."""

    name = "int8"
    stored = torch.int8

    @classmethod
    def shrink(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.shrink`."""
        scale = _scale(rows.abs().amax(-1, keepdim=True) / 127, dtype)
        return (rows.float() / scale.float()).round().clamp(-127, 127).to(cls.stored), scale

    def forward(self, x: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.forward`; few bfloat16 rows on the CPU read the bytes as they are."""
        rows = x.numel() // self.in_features
        if x.dtype == torch.bfloat16 and x.is_cpu and rows <= FEW_ROWS:
            flat = torch._weight_int8pack_mm(x.reshape(rows, -1), self.weight.to("cpu"), self.scale.to(x)[:, 0])
            return flat.view(*x.shape[:-1], self.out_features)
        return super().forward(x)


class Int4Linear(QuantizedLinear):
    """Whole numbers from -8 to 7, two a byte, a scale for each G weights of a row.

    The scale maps the group's weight of largest magnitude, with its sign, to -8: all sixteen values are in use (Q4_0 of
    llama.cpp). Halves of a group's bytes: the low four bits hold its first weights, the high four its last.
    """

    name = "int4"
    stored = torch.uint8

    @classmethod
    def widths(cls, inputs: int) -> tuple[int, int]:
        """See :meth:`QuantizedLinear.widths`."""
        group = _group(inputs)
        return inputs // 2, inputs // group

    @classmethod
    def shrink(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.shrink`."""
        groups = rows.float().view(len(rows), -1, _group(rows.shape[-1]))
        largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        scale = _scale(largest / -8, dtype)
        whole = ((groups / scale.float()).round().clamp(-8, 7) + 8).to(torch.uint8)
        low, high = whole.chunk(2, dim=-1)
        return (low | high << 4).flatten(1), scale[..., 0]

    @classmethod
    def multiply(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """See :meth:`QuantizedLinear.multiply`; here the scales belong to groups of a row."""
        packed = weight.view(*scale.shape, -1)
        whole = torch.cat((packed & 15, packed >> 4), dim=-1)
        return F.linear(x, ((whole.to(x.dtype) - 8) * scale[..., None]).flatten(1))


def _scale(wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """``wanted`` in ``dtype``; 1 where all weights are 0, or so small that their scale would be."""
    scale = wanted.to(dtype)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def _group(inputs: int) -> int:
    group = math.gcd(inputs, INT4_GROUP)
    if group % 2:
        raise ConfigError(f"4-bit weights are stored in pairs, but a layer has {inputs} inputs. Use int8 or fp8.")
    return group


LAYERS: dict[str, type[QuantizedLinear]] = {layer.name: layer for layer in (Fp8Linear, Int8Linear, Int4Linear)}
PRECISIONS = tuple(LAYERS)
"""Names of the precisions below 16 bits."""


def layer_for(precision: str, name: str) -> type[QuantizedLinear] | None:
    """The class that holds the matrix ``name`` of a bank; None where it stays as it is.

    Raises:
        ConfigError: there is no such precision.
    """
    if precision not in LAYERS:
        raise ConfigError(f"There is no precision {precision!r}. Choose one of {', '.join(LAYERS)}, or none.")
    if not SHRUNK.fullmatch(name):
        return None
    return Int8Linear if name.startswith("lm_head.") and precision == "int4" else LAYERS[precision]


def shrink(kind: type[QuantizedLinear], pieces: Iterable[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Shrinks a matrix that comes in pieces of rows: ``weight`` as stored, and ``scale`` in ``dtype``."""
    weights, scales = zip(*(kind.shrink(piece, dtype) for piece in pieces), strict=True)
    return torch.cat(weights), torch.cat(scales)


def stored_bytes(precision: str | None, name: str, shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of a bank's tensor at a precision (None: every tensor in the dtype of ``itemsize`` bytes)."""
    kind = layer_for(precision, name) if precision else None
    if kind is None:
        return math.prod(shape) * itemsize
    columns, scales = kind.widths(shape[1])
    return shape[0] * (columns * kind.stored.itemsize + scales * itemsize)

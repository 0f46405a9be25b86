"""8-bit weights for a CPU that multiplies 8-bit integers (VNNI), by oneDNN: activations are rounded to 8 bits too."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SpecialLinear
from .int8 import Int8Linear

OPERATORS = ("qlinear_prepack", "qlinear_pointwise")
"""Those that torch's own compiler emits for quantized layers. They have no public name, as in :mod:`.onednn`."""

LEVELS = 126
"""What a token's largest number becomes: with a scale that bfloat16 rounds down, at most 126.5."""

ZERO = 128
"""What stands for 0 in unsigned activations: oneDNN's packed product is slow with signed ones."""

ROUNDED_AT_ONCE = 1 << 20
"""Numbers on their way through float32 together: what stays in the processor's caches."""

SUMS_AT_ONCE = 1 << 21
"""Sums that wait for their scales together."""

TILE = 16
"""Rows are padded to a multiple of this: torch's product of 5 takes longer than one of 16."""

SINGLE_ROWS = 4
"""Rows up to which multiplying each alone is the fastest, slab by slab of a weight."""

SLAB = 1 << 21
"""Bytes of a weight that stay in the processor's caches from row to row."""

FEW_ROWS = 64
"""Rows up to which a packed weight is much faster. One row is not: it takes a weight as it lies in the file."""

PACKED_AFTER = 96
"""Products of few rows before a weight is packed: by then they have cost as much more as packing takes."""

_turns = count()
"""Counts layers, so that those of a model are packed in turn: no step waits for all of them."""


@cache
def can_multiply_integers() -> bool:
    """Whether this CPU has instructions for sums of 8-bit products, and this build of torch uses them.

    AVX2 alone is not enough: its 16-bit sums saturate.
    """
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or platform.machine() not in ("x86_64", "AMD64") or not vnni():
        return False
    return all(hasattr(torch.ops.onednn, name) for name in OPERATORS)


class OneDNNInt8Linear(Int8Linear):
    """Each token is rounded to 8 bits with a scale of its own; sums are whole numbers, so exact.

    Of normally distributed numbers the product is about a hundredth off, mostly for the tokens' rounding. Weights stay
    as stored, views of the file. Those that often meet a few rows, as in a batch, are packed, which takes long; what
    comes out is bit for bit the same.
    """

    weight_scale: Tensor
    _packed: Tensor | None = None

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._until_packed = PACKED_AFTER + next(_turns) % PACKED_AFTER

    @property
    def packed(self) -> bool:
        """Whether the weight is packed."""
        return self._packed is not None

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        return self.products([self], x)[0]

    @classmethod
    def products(cls, layers: Sequence[SpecialLinear], x: Tensor) -> list[Tensor]:
        """See :meth:`SpecialLinear.products`. The tokens are rounded once."""
        whole, scale = rounded(x.reshape(-1, x.shape[-1]))
        return [
            layer.of_whole(whole, scale.dtype).mul_(scale).to(x.dtype).view(*x.shape[:-1], -1)
            for layer in layers
            if isinstance(layer, cls)
        ]

    def of_whole(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Tokens (N, M), rounded as by :func:`rounded` -> (N, O) in ``dtype``, without the tokens' scales."""
        if self._packed is None and 1 < len(tokens) <= FEW_ROWS:
            self._until_packed -= 1
            if self._until_packed < 0:
                self.pack()
        if self._packed is None:
            return product_of_whole(tokens, self.weight, self.weight_scale, dtype)
        scales, zeros = self.weight_scale[:, 0], _zeros(self.out_features)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            tokens, 1.0, ZERO, self._packed, scales, zeros, None, 1.0, 0, dtype, "none", [], ""
        )
        return product

    def pack(self) -> None:
        """Packs the weight, which then is no more there as stored."""
        self._packed = torch.ops.onednn.qlinear_prepack(self.weight, None)
        self.register_parameter("weight", None)


def product_of_whole(tokens: Tensor, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Tokens (N, M), rounded as by :func:`rounded`, times a weight (O, M) int8 with its scales (O, 1) -> (N, O).

    Weights stand first: that way torch's product is the faster one, whatever N.
    """
    whole = signed(tokens)
    return (_row_by_row if len(tokens) <= SINGLE_ROWS else _all_rows)(whole, weight, scale, dtype)


def _row_by_row(tokens: Tensor, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    sums = torch.empty((len(tokens), len(weight)), dtype=torch.int32)
    step = len(weight) if len(tokens) == 1 else max(1, SLAB // weight.shape[1])
    for rows, of_rows in zip(torch.split(weight, step), torch.split(sums, step, dim=1), strict=True):
        for token, out in zip(tokens, of_rows, strict=True):
            torch._int_mm(rows, token[:, None], out=out[:, None])
    return (sums * scale.t()).to(dtype)


def _all_rows(tokens: Tensor, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    columns = F.pad(tokens, (0, 0, 0, -len(tokens) % TILE)).t()
    product = torch.empty((len(tokens), len(weight)), dtype=dtype)
    step = min(max(1, SUMS_AT_ONCE // columns.shape[1]), len(weight))
    memory = torch.empty((step, columns.shape[1]), dtype=torch.int32)
    parts = (torch.split(each, step) for each in (weight, scale, product.t()))
    for rows, of_rows, out in zip(*parts, strict=True):
        sums = torch._int_mm(rows, columns, out=memory[: len(rows)])[:, : len(tokens)]
        out.copy_(sums.view(torch.float32).copy_(sums).mul_(of_rows).to(dtype))  # in their own memory, which is hot
    return product


def rounded(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (N, M) -> whole numbers (N, M) uint8, of which ``ZERO`` stands for 0, and what one is worth (N, 1).

    The latter is bfloat16 if the tokens are, and so can be products without it: a bfloat16 product and a float32 scale
    would meet in a slow loop. Else it is float32: float16 holds neither small scales nor sums that wait for theirs.
    Of a token of zeros it is 0, of one with a NaN it is NaN: whatever the whole numbers are then, so is the product.
    """
    step = max(1, ROUNDED_AT_ONCE // tokens.shape[1])
    if len(tokens) <= step:
        return _rounded(tokens)
    whole, scales = zip(*map(_rounded, torch.split(tokens, step)), strict=True)
    return torch.cat(whole), torch.cat(scales)


def _rounded(tokens: Tensor) -> tuple[Tensor, Tensor]:
    largest = tokens.abs().amax(-1, keepdim=True)
    scale = (largest if tokens.dtype == torch.bfloat16 else largest.float()).div_(LEVELS)
    return (tokens.float() / scale.float()).add_(ZERO + 0.5).to(torch.uint8), scale  # which cuts off, and so rounds


def signed(whole: Tensor) -> Tensor:
    """What :func:`rounded` makes, with 0 for 0: int8."""
    return (whole ^ ZERO).view(torch.int8)


@cache
def _zeros(outputs: int) -> Tensor:
    return torch.zeros(outputs, dtype=torch.long)

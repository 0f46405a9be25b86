"""4-bit weights for a CPU with 512-bit vectors, in the order in which torch's own product of few rows reads them.

That order: outputs in blocks of 64, within a block the inputs one after the other, for each input 32 bytes; byte ``b``
holds the weight of output ``b`` of the block in its low four bits, that of output ``b + 32`` in its high four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Layout, SpecialLinear, Weights
from .int4 import ZERO, Int4Linear, group_size
from .int8 import LARGEST
from .int8_onednn import can_multiply_integers, rounded, signed
from .quantized import DEQUANTIZED_ON_CPU, scale_name

SLAB = 16
"""Blocks that are widened together for a product of many rows: more are new memory that takes longer to get."""

BLOCK, HALF = 64, 32
"""Outputs of a block, and bytes an input has in it."""

FEW_ROWS = 32
"""Rows up to which torch's product, a row at a time, beats dequantizing for a product of all."""

GROUPS = (32, 64, 128, 256)
"""Sizes of group that it knows."""


@cache
def can_read_packed() -> bool:
    """Whether this build of torch has the product, and reads weights in this order on this CPU."""
    has = hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")
    return has and torch.backends.cpu.get_cpu_capability() == "AVX512"


class PackedInt4Linear(SpecialLinear):
    """What :class:`Int4Linear` keeps, packed: ``weight`` (blocks, M, 32), scales and zeros (groups, outputs, 2)."""

    weight: Tensor
    weight_scale: Tensor

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """See :meth:`SpecialLinear.tensors`."""
        blocks = -(-out_features // BLOCK)
        return {
            "weight": ((blocks, in_features, HALF), torch.uint8),
            "weight_scale": ((in_features // group_size(in_features), blocks * BLOCK, 2), torch.bfloat16),
        }

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Packs what :class:`Int4Linear` would keep."""
        for name, weight, scale in Int4Linear.quantized(weights, names, transient=True):
            yield name, torch.cat([_packed(rows) for rows in torch.split(weight, BLOCK * 16)])
            padded = F.pad(scale, (0, 0, 0, -len(scale) % BLOCK)).t()
            yield scale_name(name), torch.stack((padded, torch.zeros_like(padded)), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        return self.products([self], x)[0]

    @classmethod
    def products(cls, layers: Sequence[SpecialLinear], x: Tensor) -> list[Tensor]:
        """See :meth:`SpecialLinear.products`. Many tokens are rounded once."""
        rows = x.reshape(-1, x.shape[-1])
        group = group_size(x.shape[-1])
        ours = [layer for layer in layers if isinstance(layer, cls)]
        if len(rows) <= FEW_ROWS and group in GROUPS:
            made = [layer._few(rows, group) for layer in ours]
        elif can_multiply_integers():
            whole, scale = rounded(rows)
            tokens = signed(whole)
            made = [layer._many(tokens, group, scale.dtype).mul_(scale) for layer in ours]
        else:
            made = [layer._dequantized(rows, group) for layer in ours]
        return [
            out[:, : layer.out_features].to(x.dtype).contiguous().view(*x.shape[:-1], -1)
            for layer, out in zip(ours, made, strict=True)
        ]

    def _few(self, rows: Tensor, group: int) -> Tensor:
        """In bfloat16, which it is made for, whatever the model's dtype: beside four bits that rounds nothing away."""
        tokens, packed = rows.bfloat16().contiguous(), self.weight.view(-1, self.in_features // 2)
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(tokens, packed, group, self.weight_scale)
        return product.to(rows.dtype)

    def _many(self, tokens: Tensor, group: int, dtype: torch.dtype) -> Tensor:
        """Of tokens (N, M) int8, without their scales, in ``dtype``: a product of whole numbers.

        Weights are widened to 8 bits, which for all of an output are worth the same. Groups' scales become multiples of
        1/256 of that, at most 127 / 8, so that 16 bits hold what a weight is on its way.
        """
        scales = self.weight_scale[..., 0].float()
        shared = (scales.abs().amax(0) * (ZERO / LARGEST)).clamp_min(1e-30)  # 0 for outputs that only fill a block
        factors = (scales / shared * 256).round_().to(torch.int16)
        by = factors.view(len(factors), -1, 2, HALF).permute(2, 0, 1, 3).flatten(2)[:, :, None]
        plus = 128 - ZERO * by  # a half more, for what is cut off
        memory = _Memory(min(SLAB, len(self.weight)), self.in_features, len(tokens))
        out = torch.empty((len(tokens), len(shared)), dtype=dtype)
        slabs = (
            torch.split(self.weight, SLAB),
            torch.split(by, SLAB * HALF, -1),
            torch.split(plus, SLAB * HALF, -1),
            torch.split(shared.view(-1, 2, HALF), SLAB),
            torch.split(out.view(len(out), -1, 2, HALF), SLAB, 1),
        )
        for blocks, factor, more, scale, part in zip(*slabs, strict=True):
            weights = memory.widened(blocks, factor, more, group)
            sums = torch._int_mm(tokens, weights, out=memory.sums(blocks))
            scaled = sums.view(torch.float32).copy_(sums).mul_(scale.transpose(0, 1).flatten())
            part.copy_(scaled.view(len(out), 2, -1, HALF).transpose(1, 2))
        return out

    def _dequantized(self, rows: Tensor, group: int) -> Tensor:
        """Dequantizes some blocks at a time, each as (M, outputs), and multiplies."""
        scales = self.weight_scale[..., 0].to(rows.dtype).view(len(self.weight_scale), -1, BLOCK)
        step = max(1, DEQUANTIZED_ON_CPU // (self.in_features * BLOCK))
        parts = []
        for blocks, scale in zip(torch.split(self.weight, step), torch.split(scales, step, dim=1), strict=True):
            whole = torch.empty(self.in_features, len(blocks), BLOCK, dtype=rows.dtype)
            inputs_first = blocks.transpose(0, 1)
            whole[..., :HALF].copy_(inputs_first & 15)
            whole[..., HALF:].copy_(inputs_first >> 4)
            whole.sub_(ZERO).view(-1, group, len(blocks), BLOCK).mul_(scale[:, None])
            parts.append(rows @ whole.flatten(1))
        return torch.cat(parts, dim=-1)


class _Memory:
    """What a product of many rows works in, slab by slab: new memory for each would be the slowest part.

    A slab's columns are the outputs of its blocks' low halves, then those of the high ones: so everything on the way is
    in long rows, which torch walks through several times as fast as through the 32 numbers of a half. Symbols: N blocks
    of a slab.
    """

    def __init__(self, blocks: int, inputs: int, rows: int) -> None:
        self._bytes = torch.empty(inputs * blocks * HALF, dtype=torch.uint8)
        self._half = torch.empty_like(self._bytes)
        self._products = torch.empty_like(self._bytes, dtype=torch.int16)
        self._weights = torch.empty(inputs * blocks * BLOCK, dtype=torch.int8)
        self._sums = torch.empty(rows * blocks * BLOCK, dtype=torch.int32)
        self._rows = rows

    def sums(self, blocks: Tensor) -> Tensor:
        """Where a slab's sums go: (rows, 64 N) int32."""
        width = len(blocks) * BLOCK
        return self._sums[: self._rows * width].view(self._rows, width)

    def widened(self, blocks: Tensor, by: Tensor, plus: Tensor, group: int) -> Tensor:
        """A slab's 8-bit weights (M, 64 N).

        Args:
            blocks: (N, M, 32) as stored.
            by: (2, M / group, 1, 32 N) int16, the groups' factors, of the low halves and the high ones.
            plus: the same, what is added to the products.
            group: weights that share a factor.
        """
        count, inputs, _ = blocks.shape
        width = count * HALF
        packed, half, products = (
            each[: inputs * width].view(inputs, width) for each in (self._bytes, self._half, self._products)
        )
        packed.view(inputs, count, HALF).copy_(blocks.transpose(0, 1))
        weights = self._weights[: 2 * inputs * width].view(inputs, 2, width)
        for high in (0, 1):
            four_bits = packed.bitwise_right_shift_(4) if high else torch.bitwise_and(packed, 15, out=half)
            products.copy_(four_bits).view(-1, group, width).mul_(by[high]).add_(plus[high])
            weights[:, high].copy_(products.bitwise_right_shift_(8))
        return weights.flatten(1)


def _packed(weight: Tensor) -> Tensor:
    """Rows as :class:`Int4Linear` stores them, (O, M / 2) -> (blocks, M, 32)."""
    padded = F.pad(weight, (0, 0, 0, -len(weight) % BLOCK), value=ZERO << 4 | ZERO)
    first, second = padded.view(-1, 2, HALF, weight.shape[1]).unbind(1)
    columns = torch.stack((first & 15 | second << 4, first >> 4 | second & 240), dim=1)  # the even ones, and the odd
    return columns.permute(0, 3, 1, 2).reshape(len(first), -1, HALF)

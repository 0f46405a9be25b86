"""4-bit weights for a CPU with 512-bit vectors, in the order in which torch's own product of few rows reads them.

That order: outputs in blocks of 64, within a block the inputs one after the other, for each input 32 bytes; byte ``b``
holds the weight of output ``b`` of the block in its low four bits, that of output ``b + 32`` in its high four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SpecialLinear, Weights
from .int4 import ZERO, Int4Linear, group_size
from .quantized import DEQUANTIZED_ON_CPU, scale_name

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
    def tensors(
        cls, in_features: int, out_features: int, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See :meth:`SpecialLinear.tensors`."""
        blocks = -(-out_features // BLOCK)
        return {
            "weight": ((blocks, in_features, HALF), torch.uint8),
            "weight_scale": ((in_features // group_size(in_features), blocks * BLOCK, 2), torch.bfloat16),
        }

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Packs what :class:`Int4Linear` would keep."""
        for name, weight, scale in Int4Linear.quantized(weights, names):
            yield name, torch.cat([_packed(rows) for rows in torch.split(weight, BLOCK * 16)])
            padded = F.pad(scale, (0, 0, 0, -len(scale) % BLOCK)).t()
            yield scale_name(name), torch.stack((padded, torch.zeros_like(padded)), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        rows = x.reshape(-1, self.in_features)
        group = group_size(self.in_features)
        out = (self._few if len(rows) <= FEW_ROWS and group in GROUPS else self._many)(rows, group)
        return out[:, : self.out_features].reshape(*x.shape[:-1], -1)

    def _few(self, rows: Tensor, group: int) -> Tensor:
        """In bfloat16, which it is made for, whatever the model's dtype: beside four bits that rounds nothing away."""
        packed = self.weight.view(-1, self.in_features // 2)
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(rows.bfloat16(), packed, group, self.weight_scale)
        return product.to(rows.dtype)

    def _many(self, rows: Tensor, group: int) -> Tensor:
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


def _packed(weight: Tensor) -> Tensor:
    """Rows as :class:`Int4Linear` stores them, (O, M / 2) -> (blocks, M, 32)."""
    padded = F.pad(weight, (0, 0, 0, -len(weight) % BLOCK), value=ZERO << 4 | ZERO)
    first, second = padded.view(-1, 2, HALF, weight.shape[1]).unbind(1)
    columns = torch.stack((first & 15 | second << 4, first >> 4 | second & 240), dim=1)  # the even ones, and the odd
    return columns.permute(0, 3, 1, 2).reshape(len(first), -1, HALF)

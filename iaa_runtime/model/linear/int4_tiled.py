"""4-bit weights for a CUDA device, in the order in which torch's own product of few rows reads them.

That order (``_convert_weight_to_int4pack`` of torch, which only runs there): tiles of 8 outputs and 128 inputs, which
tensor cores take as operands of 16 inputs. Symbols, of an input's number, the slowest first: ``p`` which 32 of the 128,
``t`` which 16 of those, ``h`` which half of those, ``q`` which pair in that, ``l`` which of the pair; and ``n`` which
of the 8 outputs. A tile lies in memory as ``n q p l t h``, two values of ``h`` a byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Layout, Weights
from .int4 import GROUP, ZERO, Int4Linear
from .int4_cuda import Kernel, kernel_for
from .quantized import DEQUANTIZED, scale_name

OUTPUTS, INPUTS = 8, 128
"""Of a tile."""

ROWS_AT_ONCE = 512
"""Of a weight that is put into tiles: so many stay in a processor's cache."""

FEW_ROWS = 64
"""Rows up to which torch's product, which reads a weight for every 16 of them, beats dequantizing it once."""


@cache
def can_multiply_tiles(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has the product for this device: NVIDIA's from Ampere on, in bfloat16. AMD's tiles are others.

    Builds of torch for CUDA 11 have its name alone.
    """
    if device.type != "cuda" or dtype != torch.bfloat16 or torch.version.hip is not None:
        return False
    if int((torch.version.cuda or "0").partition(".")[0]) < 12:
        return False
    return hasattr(torch, "_weight_int4pack_mm") and torch.cuda.get_device_capability(device) >= (8, 0)


class TiledInt4Linear(Int4Linear):
    """What :class:`Int4Linear` keeps, in tiles: ``weight`` (O / 8, M / 128, 32, 4) int32, scales (M / G, O).

    A layer whose sizes are no multiples of a tile's stays as it is.
    """

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """See :meth:`SpecialLinear.tensors`."""
        if not _fits(in_features, out_features):
            return super().tensors(in_features, out_features, dtype)
        return {
            "weight": ((out_features // OUTPUTS, in_features // INPUTS, 32, 4), torch.int32),
            cls.SCALE: ((in_features // GROUP, out_features), torch.bfloat16),
        }

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Puts what :class:`Int4Linear` would keep into tiles."""
        for name, weight, scale in cls.quantized(weights, names, transient=True):
            fits = _fits(weight.shape[1] * 2, len(weight))
            yield name, tiled(weight) if fits else weight.clone()
            yield scale_name(name, cls.SCALE), scale.t().contiguous() if fits else scale

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Like :meth:`QuantizedLinear.product`; few rows take the bits as they are."""
        if weight.ndim == 2:
            return super().product(x, weight, scale)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= FEW_ROWS:
            product = torch._weight_int4pack_mm(rows, weight, GROUP, with_zeros(scale))
        else:
            product = _of_many(rows, weight, scale)
        return product.view(*x.shape[:-1], -1)


def _fits(inputs: int, outputs: int) -> bool:
    return inputs % INPUTS == 0 and outputs % OUTPUTS == 0


def tiled(weight: Tensor) -> Tensor:
    """Rows as :class:`Int4Linear` stores them, (O, M / 2) uint8 -> tiles, (O / 8, M / 128, 32, 4) int32."""
    return torch.cat([_tiled(rows) for rows in torch.split(weight, ROWS_AT_ONCE if weight.is_cpu else len(weight))])


def _tiled(weight: Tensor) -> Tensor:
    """Some rows in tiles, by words of four bytes: moving single bytes takes a processor three times as long."""
    words = weight.clone().view(torch.int32).view(-1, OUTPUTS, weight.shape[1] * 2 // INPUTS, 4, 2, 2)  # . n . p t h
    first, second = words.transpose(1, 2).contiguous().unbind(-1)
    low, high = 0x0F0F0F0F, ~0x0F0F0F0F
    pairs = torch.stack((first & low | (second & low) << 4, first >> 4 & low | second & high), dim=-2)  # . . n p l t
    (a, b), (c, d) = (pair.unbind(-1) for pair in pairs.unbind(-2))
    # The four bytes of each, one for every q, change places with the words: a, b, c, d are bytes of four other words.
    outer, inner, half = 0x00FF00FF, ~0x00FF00FF, 0xFFFF
    even = [x & outer | (y & outer) << 8 for x, y in ((a, b), (c, d))]
    odd = [x >> 8 & outer | y & inner for x, y in ((a, b), (c, d))]
    first_two = [x & half | y << 16 for x, y in (even, odd)]
    last_two = [x >> 16 & half | y & ~half for x, y in (even, odd)]
    return torch.stack((*first_two, *last_two), dim=-2).flatten(-3, -2)  # . . n q p


def with_zeros(scale: Tensor) -> Tensor:
    """Scales (M / G, O) bfloat16 -> (M / G, O, 2), a zero behind each, by widening their bits.

    On an H100 stacking the two took a fifth of a decode step.
    """
    bits = scale.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    return bits.view(scale.dtype).view(*scale.shape, 2)


def _of_many(rows: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Rows (N, M) times weights that are dequantized, some tiles' outputs at a time -> (N, O).

    Inputs of weights and rows go in the order ``p q l t h``, which leaves bytes of a tile side by side.
    """
    inputs, kernel = rows.shape[-1], kernel_for(weight.device, rows.dtype)
    shuffled = rows.view(-1, inputs // GROUP, 2, 2, 4, 2).permute(0, 1, 4, 5, 2, 3).reshape(rows.shape)
    at_once = DEQUANTIZED if kernel is None else 2 * DEQUANTIZED  # the kernel needs half as much memory a weight
    step = max(1, at_once // (inputs * OUTPUTS))
    parts = zip(torch.split(weight, step), torch.split(scale, step * OUTPUTS, dim=1), strict=True)
    return torch.cat([F.linear(shuffled, _dequantized(*part, rows.dtype, kernel)) for part in parts], dim=-1)


def _dequantized(weight: Tensor, scale: Tensor, dtype: torch.dtype, kernel: Kernel | None) -> Tensor:
    """Tiles and scales (M / G, O) -> (O, M) in ``dtype``, inputs in the order ``p q l t h``."""
    tiles = weight.view(len(weight), -1, OUTPUTS, 4, 4).permute(0, 2, 1, 4, 3).contiguous()  # . n . p q
    pairs, scales = tiles.view(torch.uint8).view(scale.shape[1], -1, GROUP // 2), scale.t()
    if kernel is not None:
        return kernel(pairs, scales.contiguous()).flatten(1)
    whole = torch.empty((*pairs.shape, 2), dtype=dtype, device=weight.device)
    whole[..., 0].copy_(pairs & 15)
    whole[..., 1].copy_(pairs >> 4)
    groups, scales = whole.flatten(2), scales.to(dtype)[..., None]
    torch.addcmul(scales * -ZERO, groups, scales, out=groups)  # one pass, rounded once
    return groups.flatten(1)

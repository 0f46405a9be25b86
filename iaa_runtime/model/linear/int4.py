"""Weights as whole numbers of 4 bits, a scale for each group of a row's weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import ConfigError
from .quantized import QuantizedLinear, usable_scale

GROUP = 32
"""G: with a 16-bit scale each, 4.5 bits a weight."""


class Int4Linear(QuantizedLinear):
    """Whole numbers from -8 to 7, two a byte, a scale for each G weights of a row.

    The scale maps the group's weight of largest magnitude, with its sign, to -8: all sixteen values are in use (Q4_0 of
    llama.cpp). Halves of a group's bytes: the low four bits hold its first weights, the high four its last.
    """

    @classmethod
    def stored(cls, in_features: int) -> tuple[int, torch.dtype]:
        """See :meth:`QuantizedLinear.stored`."""
        return in_features // 2, torch.uint8

    @classmethod
    def scales(cls, in_features: int) -> int:
        """See :meth:`QuantizedLinear.scales`."""
        return in_features // _group(in_features)

    @classmethod
    def quantize(cls, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See :meth:`QuantizedLinear.quantize`."""
        groups = rows.float().view(len(rows), -1, _group(rows.shape[-1]))
        largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        scale = usable_scale(largest / -8, dtype)
        whole = ((groups / scale.float()).round().clamp(-8, 7) + 8).to(torch.uint8)
        low, high = whole.chunk(2, dim=-1)
        return (low | high << 4).flatten(1), scale[..., 0]

    @classmethod
    def dequantize(cls, weight: Tensor, scale: Tensor) -> Tensor:
        """See :meth:`QuantizedLinear.dequantize`; here the scales (rows, groups) belong to groups of a row."""
        packed = weight.view(*scale.shape, -1)
        whole = torch.cat((packed & 15, packed >> 4), dim=-1)
        return ((whole.to(scale.dtype) - 8) * scale[..., None]).flatten(1)


def _group(inputs: int) -> int:
    group = math.gcd(inputs, GROUP)
    if group % 2:
        raise ConfigError(f"4-bit weights are stored in pairs, but a layer has {inputs} inputs. Use int8 or fp8.")
    return group

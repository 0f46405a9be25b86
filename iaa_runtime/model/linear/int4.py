"""Weights as whole numbers of 4 bits, a scale for each group of a row's weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import ConfigError
from .base import Layout
from .int4_cuda import GROUP_MULTIPLE, kernel_for
from .quantized import QuantizedLinear, usable_scale

GROUP = 32
"""G: with a 16-bit scale each, 4.5 bits a weight."""

ZERO = 8
"""What stands for 0 in four unsigned bits."""

CLIPPINGS = (1.0, 0.9, 0.8)
"""Scales that are tried, as parts of the one that clips nothing."""


class Int4Linear(QuantizedLinear):
    """Whole numbers from -8 to 7, two a byte (the even column in the low four bits), a scale for each G of a row.

    Scales are bfloat16 in every model: beside weights of four bits their rounding is nothing.
    """

    FORMAT = "iaa_int4"

    @classmethod
    def format(cls, in_features: int) -> dict[str, object]:
        """See :meth:`QuantizedLinear.format`."""
        return super().format(in_features) | {"group_size": group_size(in_features)}

    @classmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """See :meth:`SpecialLinear.tensors`."""
        return {
            "weight": ((out_features, in_features // 2), torch.uint8),
            cls.SCALE: ((out_features, in_features // group_size(in_features)), torch.bfloat16),
        }

    @classmethod
    def quantize(cls, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rounds to the scale, of a few tried, that leaves a group the least squared error.

        A scale maps the group's weight of largest magnitude, with its sign, to -8, so that all sixteen values are in
        use (Q4_0 of llama.cpp), or a little beyond, which serves the others; each is then fitted to what it was rounded
        to by least squares.
        """
        groups = rows.float().view(len(rows), -1, group_size(rows.shape[-1]))
        largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        scale, whole = _fitted(groups, largest / -ZERO)
        error = _squared_error(groups, scale, whole)
        for part in CLIPPINGS[1:]:
            tried, rounded = _fitted(groups, largest / -ZERO * part)
            better = (new := _squared_error(groups, tried, rounded)) < error
            error = torch.where(better, new, error)
            scale, whole = torch.where(better, tried, scale), torch.where(better, rounded, whole)
        values = (whole + ZERO).to(torch.uint8).flatten(1)
        return values[:, ::2] | values[:, 1::2] << 4, scale[..., 0].to(torch.bfloat16)

    @classmethod
    def dequantize(cls, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """See :meth:`QuantizedLinear.dequantize`; scales (rows, groups)."""
        group = 2 * weight.shape[1] // scale.shape[1]
        if group % GROUP_MULTIPLE == 0 and (kernel := kernel_for(weight.device, dtype)):
            return kernel(weight.view(*scale.shape, -1), scale).flatten(1)
        whole = unpacked(weight).view(*scale.shape, -1)
        return ((whole.view(torch.int8) - ZERO).to(dtype) * scale[..., None].to(dtype)).flatten(1)


def group_size(inputs: int) -> int:
    """G of a layer: as many weights of a row share a scale.

    Raises:
        ConfigError: weights could not be stored in pairs.
    """
    group = math.gcd(inputs, GROUP)
    if group % 2:
        raise ConfigError(f"4-bit weights are stored in pairs, but a layer has {inputs} inputs. Use int8 or fp8.")
    return group


def unpacked(weight: Tensor) -> Tensor:
    """(O, M / 2) as stored -> (O, M) uint8, of which ``ZERO`` stands for 0."""
    return torch.stack((weight & 15, weight >> 4), dim=-1).flatten(1)


def _fitted(groups: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Groups (O, M / G, G) rounded to ``scale`` (O, M / G, 1), that scale fitted to them, and rounded to it anew."""
    rounded = _rounded(groups, usable_scale(scale))
    fitted = (groups * rounded).sum(-1, keepdim=True) / rounded.square().sum(-1, keepdim=True).clamp_min(1)
    fitted = usable_scale(fitted, torch.bfloat16).float()
    return fitted, _rounded(groups, fitted)


def _rounded(groups: Tensor, scale: Tensor) -> Tensor:
    return (groups / scale).round_().clamp_(-ZERO, ZERO - 1)


def _squared_error(groups: Tensor, scale: Tensor, whole: Tensor) -> Tensor:
    return (whole * scale).sub_(groups).square_().sum(-1, keepdim=True)

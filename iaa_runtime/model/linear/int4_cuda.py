"""4-bit weights made 16-bit ones on a GPU in one pass, by a kernel that torch compiles at its first use (jiterator).

torch's own operators take a pass for each of masking, shifting, converting and scaling: eleven bytes a weight go
through memory, and here two and a half. Where there is no compiler, or it gives other weights, there is no kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

MULTIPLE = 16
"""Weights of which a group must be a multiple: those in 64 bits, which the kernel reads at once."""

_BITS_OF = {
    torch.bfloat16: """
        unsigned bits = __float_as_uint(value);
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;""",
    torch.float16: """
        unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000;
        bits &= 0x7FFFFFFF;
        if (bits < 0x38800000)  // below the least normal number, the unit of 0.5 is that of the result
            return sign | (__float_as_uint(__uint_as_float(bits) + 0.5f) - 0x3F000000);
        return sign | (bits + 0xFFF + (bits >> 13 & 1) - 0x38000000) >> 13;""",
}
"""The bits of a float32 rounded to the nearest 16-bit float, to even in the middle; weights are far from overflow."""

_FOUR = """
    template <typename T> T four(T scale, T words, T shift) {
        unsigned bits = words >> shift;
        float unit = __int_as_float((int)scale << 16);
        T found = 0;
        for (int n = 3; n >= 0; n--)
            found = found << 16 | rounded<T>((float)((int)(bits >> 4 * n & 15) - 8) * unit);
        return found;
    }"""
"""Four weights of two words, side by side; the scale is the bits of a bfloat16."""

Kernel = Callable[[Tensor, Tensor], Tensor]
"""Words (..., W) int32, W even, and their scales (...) bfloat16 -> weights (..., W, 8), row by row."""


@cache
def kernel_for(device: torch.device, dtype: torch.dtype) -> Kernel | None:
    """The kernel for weights in ``dtype``; None where there is none, and for what is no GPU of NVIDIA or AMD."""
    if device.type != "cuda" or dtype not in _BITS_OF:
        return None
    try:
        kernel = _compiled(device, dtype)
        words = torch.arange(-64, 64, dtype=torch.int32, device=device).view(-1, 4) * 0x01234567
        scales = torch.logspace(-9, 2, len(words), device=device).to(torch.bfloat16)
        shifts = torch.arange(0, 32, 4, device=device)
        expected = ((words[..., None] >> shifts & 15) - 8).float() * scales[:, None, None].float()
        if torch.equal(kernel(words, scales), expected.to(dtype)):
            return kernel
        reason = "it gives other weights"
    except (RuntimeError, AssertionError) as error:  # no compiler, or none that knows this GPU
        reason = str(error)
    log.warning("4-bit weights are unpacked without a kernel of their own: %s", reason)
    return None


def _compiled(device: torch.device, dtype: torch.dtype) -> Kernel:
    helper = f"template <typename T> unsigned rounded(float value) {{{_BITS_OF[dtype]}\n}}\n"
    four: Any = torch.cuda.jiterator._create_jit_fn(helper + _FOUR)
    shifts = torch.arange(0, 64, 16, device=device)

    def kernel(words: Tensor, scales: Tensor) -> Tensor:
        doubled = words.contiguous().view(torch.int64)[..., None]
        fours: Tensor = four(scales.view(torch.int16).long()[..., None, None], doubled, shifts)
        return fours.view(dtype).view(*words.shape, -1)

    return kernel

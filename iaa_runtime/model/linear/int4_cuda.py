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

GROUP_MULTIPLE = 16
"""The size of a group must be a multiple of it: so many weights are in the 64 bits that the kernel reads at once."""

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
"""Four weights, side by side, of the sixteen in 64 bits; the scale is the bits of a bfloat16."""

Kernel = Callable[[Tensor, Tensor], Tensor]
"""Groups (..., G / 2) uint8, two weights a byte, and their scales (...) bfloat16 -> weights (..., G)."""


@cache
def kernel_for(device: torch.device, dtype: torch.dtype) -> Kernel | None:
    """The kernel that unpacks to ``dtype`` on ``device``.

    None for other dtypes than bfloat16 and float16, for what is no GPU of NVIDIA or AMD, and, with a warning, where the
    kernel does not compile or gives other weights than torch's operators.
    """
    if device.type != "cuda" or dtype not in _BITS_OF:
        return None
    try:
        kernel = _compiled(device, dtype)
        pairs = torch.arange(512, device=device).to(torch.uint8).view(-1, 16)
        scales = torch.logspace(-9, 2, len(pairs), device=device).to(torch.bfloat16)
        values = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(1)
        expected = (values.float() - 8) * scales[:, None].float()
        if torch.equal(kernel(pairs, scales), expected.to(dtype)):
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

    def kernel(pairs: Tensor, scales: Tensor) -> Tensor:
        pairs = pairs.contiguous()
        if pairs.data_ptr() % 8 or pairs.storage_offset() % 8:  # as in a buffer that a host streams weights through
            pairs = pairs.clone()
        sixteens = pairs.view(torch.int64)[..., None]
        fours: Tensor = four(scales.view(torch.int16).long()[..., None, None], sixteens, shifts)
        return fours.view(dtype).flatten(-2)

    return kernel

"""What this CPU multiplies faster. Instructions that it has are no measure of their speed, so the dtype is measured.

A dtype changes answers in their last digits, so the choice must be the same at every start, whatever else the machine
does: one thread waits for no other, its least time counts, and the margin is wide.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from .onednn import OneDNNLinear, can_multiply

WIDTH, ROWS, TURNS = 1024, 256, 7
"""Edge of the matrix, rows of a prompt, and how often both are multiplied: a tenth of a second in all."""

SHARE_OF_FP32 = 0.85
"""The part of float32's time below which bfloat16 is chosen."""


def fast_in_bf16() -> bool:
    """Whether bfloat16 is the dtype to compute in: the CPU has instructions for it, and they are the faster ones."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(native()) and can_multiply(torch.bfloat16, torch.device("cpu")) and bf16_share() < SHARE_OF_FP32


@cache
def bf16_share() -> float:
    """Time of a prompt's product with a packed bfloat16 matrix, as a share of float32's; measured once a process."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn((WIDTH, WIDTH), generator=random)
    x = torch.randn((ROWS, WIDTH), generator=random)
    packed, narrow = OneDNNLinear.pack(weight.bfloat16()), x.bfloat16()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wide = _least_seconds(lambda: F.linear(x, weight))
        return _least_seconds(lambda: torch.ops.mkldnn._linear_pointwise(narrow, packed, None, "none", [], "")) / wide
    finally:
        torch.set_num_threads(threads)


@cache
def is_intel() -> bool:
    """Whether this is a processor of Intel's. torch multiplies float32 by MKL, which Intel makes for its own."""
    cpuinfo = Path("/proc/cpuinfo")
    return "GenuineIntel" in (cpuinfo.read_text() if cpuinfo.exists() else platform.processor())


def _least_seconds(run: Callable[[], object]) -> float:
    least = float("inf")
    for turn in range(TURNS + 1):
        begin = time.perf_counter()
        run()
        if turn:  # the first sets up what a library needs
            least = min(least, time.perf_counter() - begin)
    return least

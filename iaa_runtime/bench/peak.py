"""The most memory that a run takes: of its accelerator, or on a CPU of this process (Linux alone says it)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
RESET = "5"
"""Written to ``clear_refs``, makes the peak start anew from what is resident (proc(5))."""


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """Runs ``run``; returns the most bytes that were held at a time. None where the system does not say.

    On CUDA that is all that torch took from the device, what was there before included; on a CPU the growth of the
    resident set, in which pages of mapped files count.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_reserved(device)
    before = _start_anew() if device.type == "cpu" else None
    run()
    return None if before is None else resident("VmHWM") - before


def _start_anew() -> int | None:
    try:
        (PROCESS / "clear_refs").write_text(RESET)
        return resident("VmRSS")
    except OSError:  # not Linux, or a container that keeps /proc to itself
        return None


def resident(field: str) -> int:
    """``"VmRSS"``, what of this process is resident, or ``"VmHWM"``, what was at most. Bytes. Linux only."""
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024

"""Peak memory of a run: of its accelerator, or on a CPU of this process (on Linux only)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
RESET = "5"
"""Written to ``clear_refs``, resets the peak to what is resident now (proc(5))."""


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """Runs ``run`` and returns its peak memory in bytes; None where the system does not tell.

    On CUDA that is all that torch had reserved, earlier allocations included; on a CPU it is how much the resident set
    grew, in which pages of mapped files count.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_reserved(device)
    before = _reset_peak() if device.type == "cpu" else None
    run()
    return None if before is None else resident("VmHWM") - before


def _reset_peak() -> int | None:
    try:
        (PROCESS / "clear_refs").write_text(RESET)
        return resident("VmRSS")
    except OSError:  # not Linux, or a container that keeps /proc to itself
        return None


def resident(field: str) -> int:
    """Resident bytes of this process: ``"VmRSS"`` now, ``"VmHWM"`` at the peak. Linux only."""
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024

"""Timing on a machine that others use too: what is compared runs in turn, and ratios are taken pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from .choices import CLOCKS


@dataclass(frozen=True)
class Clock:
    """A clock, and the device whose work it waits for."""

    name: str
    device: torch.device

    def time(self, run: Callable[[], object]) -> float:
        """Seconds that ``run`` takes."""
        self._wait()
        begin = CLOCKS[self.name]()
        run()
        self._wait()
        return CLOCKS[self.name]() - begin

    def _wait(self) -> None:
        """Until the device has done what it was given: kernels are only launched while the host goes on."""
        kind = self.device.type
        if kind in ("cuda", "xpu"):
            getattr(torch, kind).synchronize(self.device)
        elif synchronize := getattr(getattr(torch, kind, None), "synchronize", None):
            synchronize()  # torch.accelerator's is newer than the oldest torch that we support


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int, clock: Clock) -> dict[str, list[float]]:
    """Times every run ``repeats`` times, in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(repeats + 1):
        for name, run in runs.items():
            took = clock.time(run)
            if round_:
                seconds[name].append(took)
    return seconds


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of ``ours / theirs``, pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: list[float]) -> float:
    """How noisy the machine was: (largest - smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)

"""How far a job is, how fast it goes, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

SECONDS_BETWEEN_LINES = 30.0
"""In a log file; at a terminal one line is kept current."""
_SECONDS_BETWEEN_REDRAWS = 0.2


class Progress:
    """A line for people, on stderr.

    Args:
        total: items of the job.
        done: items that were there at the start; they do not count for the rate.
        what: what the items are.
        stream: where to write.
        clock: seconds, ever growing.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        what: str = "images",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._first, self._what, self._clock = total, done, what, clock
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._begun = self._said = clock()

    def update(self, done: int) -> None:
        """Tells that ``done`` items of all are finished; writes when it is time to."""
        now = self._clock()
        if now - self._said < (_SECONDS_BETWEEN_REDRAWS if self._terminal else SECONDS_BETWEEN_LINES):
            return
        self._said = now
        self._write(self.describe(done))

    def describe(self, done: int) -> str:
        """The line for ``done`` finished items, such as ``1,200 of 5,000 images, 12.5 a second, 5 min 4 s left``."""
        fresh, elapsed = done - self._first, self._clock() - self._begun
        line = f"{done:,} of {self._total:,} {self._what}"
        if fresh <= 0 or elapsed <= 0:
            return line
        rate = fresh / elapsed
        speed = f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f"{line}, {speed}, {duration((self._total - done) / rate)} left"

    def finish(self, done: int) -> None:
        """Writes the last line."""
        elapsed = self._clock() - self._begun
        rest = f"{self._what} ({done - self._first:,} now, in {duration(elapsed)})"
        self._write(f"{done:,} of {self._total:,} {rest}")
        if self._terminal:
            self._stream.write("\n")

    def _write(self, line: str) -> None:
        self._stream.write(f"\r{line}\033[K" if self._terminal else f"{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Two units of a time span: ``42 s``, ``5 min 4 s``, ``3 h 12 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {small_name}"
    return f"{whole} s"

"""The progress line of a job: items done, rate, and time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

from ..text.printable import StatusLine, unguarded

_logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
"""In a log file; a terminal gets one line that changes."""
_SECONDS_BETWEEN_REDRAWS = 0.2


class Progress:
    """Writes progress lines, the first at once; on stderr by default, if the package's logger tells of such (INFO).

    Args:
        total: items of the job.
        done: items done before this run; they do not count for the rate.
        what: the items' name, in the plural.
        stream: where to write.
        clock: monotonic seconds.
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
        told = stream is not None or _logger.isEnabledFor(logging.INFO)
        self._stream = (stream or unguarded(sys.stderr)) if told else None
        self._terminal = StatusLine(self._stream) if self._stream and self._stream.isatty() else None
        self._begun = self._written = clock()
        self._write(self.describe(done))

    def update(self, done: int) -> None:
        """Notes that ``done`` of all items are finished; writes a line if the last one is old enough."""
        now = self._clock()
        if now - self._written < (_SECONDS_BETWEEN_REDRAWS if self._terminal else SECONDS_BETWEEN_LINES):
            return
        self._written = now
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
        if self._stream and self._terminal:
            self._stream.write("\n")

    def _write(self, line: str) -> None:
        if self._terminal:
            self._terminal.show(line)
        elif self._stream:
            self._stream.write(f"{line}\n")
            self._stream.flush()


def duration(seconds: float) -> str:
    """A time span in two units: ``42 s``, ``5 min 4 s``, ``3 h 12 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {small_name}"
    return f"{whole} s"

"""How far a stage is that counts pictures instead of steps."""

from __future__ import annotations

import logging
import time

EVERY = 10
"""Seconds between two lines."""

_log = logging.getLogger("shapes")


class Progress:
    """Logs how many of all are done, every ten seconds and at the end.

    Args:
        total: how many there are.
        what: they are called.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._told_at = time.monotonic()

    def __call__(self, done: int) -> None:
        """Hears how many are done by now."""
        now = time.monotonic()
        if done >= self._total or now - self._told_at >= EVERY:
            self._told_at = now
            _log.info("%d of %d %s", done, self._total, self._what)

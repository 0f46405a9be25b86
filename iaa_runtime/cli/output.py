"""What commands print: JSON lines on stdout; messages and a token count on stderr."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from ..text.printable import printable, unguarded

BOX = "x={x} y={y} width={width} height={height} score={score:.2f}"
"""Format of a box, with the fields of :class:`iaa_runtime.boxes.answers.Detection`."""


def print_json(record: dict[str, Any]) -> None:
    """Writes one JSON line to stdout; numbers that JSON has none for (NaN, infinities) as null."""
    print(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def log(message: str) -> None:
    """Writes a message for people to stderr."""
    print(message, file=sys.stderr, flush=True)


class TokenCounter:
    """An ``on_token`` callback that shows a growing count on stderr; silent unless stderr is a terminal."""

    def __init__(self, label: str) -> None:
        self._label, self._tokens, self._visible = label, 0, sys.stderr.isatty()

    def __call__(self, row: int, token: int) -> None:
        """Counts one token."""
        self._tokens += 1
        if self._visible:
            print(f"\r{printable(self._label)}: {self._tokens} tokens", end="", file=unguarded(sys.stderr), flush=True)

    def clear(self) -> None:
        """Clears the line."""
        if self._visible:
            print("\r\033[K", end="", file=unguarded(sys.stderr), flush=True)


def size_text(count: float) -> str:
    """A number of bytes for people, in units of a thousand: ``"860 kB"``, ``"8.3 GB"``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

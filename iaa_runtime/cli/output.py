"""What commands print: JSON lines on stdout; messages and a token count on stderr."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..text.printable import StatusLine

BOX = "x={x} y={y} width={width} height={height} score={score:.2f}"
"""Format of a box, with the fields of :class:`iaa_runtime.boxes.answers.Detection`."""


PLAIN = {"→": "->", "…": "...", "×": "x", "–": "-", "²": "2", "“": '"', "”": '"'}
"""What stands in for our own characters where a console has none for them."""


def use_what_the_console_shows(stream: TextIO) -> None:
    """Has characters that the stream's encoding lacks written in a plain form, or spelled as in ``\\u4e00``."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError) and (form := PLAIN.get(error.object[error.start])):
        return form, error.start + 1
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("plain", _plain)


def print_json(record: dict[str, Any]) -> None:
    """Writes one JSON line to stdout, in UTF-8 or ASCII; numbers that JSON has none for (NaN, infinities) as null."""
    escape = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    print(json.dumps(_finite(record), ensure_ascii=escape, allow_nan=False), flush=True)


def print_plan(options: argparse.Namespace, **plan: Any) -> None:
    """Says what a run of a benchmark would do: as a JSON line where those were asked for, else in a sentence."""
    if options.json:
        print_json({"dry_run": True} | plan)
    else:
        told = [f"{name} {value}" for name, value in plan.items() if value is not None]
        print(f"{options.benchmark}: {', '.join(told)}. Nothing was written.")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_logger = logging.getLogger(__name__)
log, complain = _logger.info, _logger.error
"""Messages for people, on stderr: what ``--quiet`` leaves out, and what went wrong."""


class _Console(logging.Handler):
    """Writes the package's messages to stderr. What cannot be written is a failure, which logging's own would hide."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def messages(quiet: bool, verbose: bool) -> Iterator[None]:
    """Shows what the package logs while the context lasts; to Python's users it is a logger like any other."""
    package, console = logging.getLogger(__name__.partition(".")[0]), _Console()
    before = package.level
    package.addHandler(console)
    package.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(console)
        package.setLevel(before)


class TokenCounter:
    """An ``on_token`` callback that shows a growing count on stderr, if that is a terminal and may be written to."""

    def __init__(self, label: str) -> None:
        self._label, self._tokens = label, 0
        shown = sys.stderr.isatty() and _logger.isEnabledFor(logging.INFO)
        self._line = StatusLine(sys.stderr) if shown else None

    def __call__(self, row: int, token: int) -> None:
        """Counts one token."""
        self._tokens += 1
        if self._line:
            self._line.show(f"{self._label}: {self._tokens} tokens")

    def clear(self) -> None:
        """Clears the line."""
        if self._line:
            self._line.clear()


def size_text(count: float) -> str:
    """A number of bytes for people, in units of a thousand: ``"860 kB"``, ``"8.3 GB"``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

"""Text by others (answers, servers' errors, names in files), harmless where it is shown: control characters spelled.

A terminal obeys what is written to it: an answer could retitle it, hide lines, or fill the clipboard. So the command
line guards its streams, whatever writes to them; progress lines alone, which go back to their start, pass the guard.
"""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""These show a line in another order than it is read in."""
_SPELLED = {code: f"\\u{code:04x}" for code in [*_CONTROLS, *_BIDI] if chr(code) not in "\n\t"}
"""Spelled as in JSON, in whose texts they may stand, so that JSON stays JSON."""


def printable(text: str) -> str:
    """The text with control characters other than line feed and tab spelled, as in ``\\u001b[2J``."""
    return text.translate(_SPELLED)


class _Guarded:
    """A stream whose text is made :func:`printable`; the rest is the stream's own.

    That nobody reads it any more raises BrokenPipeError on every system.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        with _closed_pipes_named():
            self.unguarded.write(printable(text))
        return len(text)

    def flush(self) -> None:
        with _closed_pipes_named():
            self.unguarded.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextmanager
def _closed_pipes_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:  # Windows' word for it
            raise BrokenPipeError(errno.EPIPE, error.strerror) from error
        raise


def guarded(stream: TextIO) -> TextIO:
    """The stream, with all text made :func:`printable`."""
    return cast(TextIO, _Guarded(stream))


def unguarded(stream: TextIO) -> TextIO:
    """What :func:`guarded` was given; another stream is given back as it is."""
    return stream.unguarded if isinstance(stream, _Guarded) else stream


class StatusLine:
    """A terminal's last line, drawn anew in its place; spaces cover what stood there, as old consoles show escapes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._columns = unguarded(stream), 0

    def show(self, text: str) -> None:
        """Puts a text there, made :func:`printable`."""
        text = printable(text)
        columns = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
        self._stream.write(f"\r{text}{' ' * (self._columns - columns)}")
        self._stream.flush()
        self._columns = columns

    def clear(self) -> None:
        """Leaves the line empty, to be written on."""
        self.show("")
        self._stream.write("\r")
        self._stream.flush()

"""What ``-`` stands for: a text, or a picture, from standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

from ..errors import InputError
from .arguments.shared import STDIN


def given_text(text: str) -> str:
    """The text itself, or for ``-`` all of standard input without the line's end."""
    if text != STDIN:
        return text
    return "".join(lines()).rstrip("\r\n")


def lines() -> Iterator[str]:
    """The lines of standard input.

    Raises:
        InputError: it is closed, or no text in UTF-8.
    """
    if sys.stdin is None:
        raise InputError("- stands for standard input, which is closed. Give it something to read.")
    for line in sys.stdin:
        try:
            line.encode()
        except UnicodeEncodeError:
            raise InputError("Standard input is no text in UTF-8. Save it as such.") from None
        yield line


def picture_file() -> io.BytesIO:
    """All of standard input, as a file."""
    if sys.stdin is None:
        raise InputError("- stands for standard input, which is closed. Give it something to read.")
    file = io.BytesIO(sys.stdin.buffer.read())
    file.name = "the picture from stdin"
    return file

"""What ``-`` stands for: a text, or a picture, from standard input."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import InputError
from ..text.styles import caption_prompt, styled
from .arguments.pictures import style_of
from .arguments.shared import STDIN


def given_text(text: str) -> str:
    """The text itself, or for ``-`` all of standard input without the line's end."""
    if text != STDIN:
        return text
    return "".join(lines()).rstrip("\r\n")


def asked(options: argparse.Namespace) -> str:
    """The question for captions: that of ``--prompt`` or ``--style``, with what captions are to be like.

    Raises:
        InputError: the prompt is to come from standard input, which is closed or no text.
    """
    if options.prompt is not None:
        return styled(given_text(options.prompt), **style_of(options))
    return caption_prompt(options.preset or "caption", **style_of(options))


def lines() -> Iterator[str]:
    """The lines of standard input.

    Raises:
        InputError: it is closed, or no text in UTF-8.
    """
    byte_stream()
    for line in sys.stdin:
        try:
            line.encode()
        except UnicodeEncodeError:
            raise InputError("Standard input is no text in UTF-8. Save it as such.") from None
        yield line


def byte_stream() -> BinaryIO:
    """Standard input as bytes.

    Raises:
        InputError: it is closed.
    """
    if sys.stdin is None:
        raise InputError("- stands for standard input, which is closed. Give it something to read.")
    return sys.stdin.buffer


def picture_file() -> io.BytesIO:
    """All of standard input, as a file."""
    file = io.BytesIO(byte_stream().read())
    file.name = "the picture from stdin"
    return file

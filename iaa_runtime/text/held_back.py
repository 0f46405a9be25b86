"""Holds back what a library writes to the process's stderr by itself, beside its error."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_STDERR = 2
_ONE_AT_A_TIME = threading.Lock()  # whoever restores it last would restore another's file


@contextmanager
def held_back(told_by: str) -> Iterator[None]:
    """What comes out meanwhile is shown afterwards, unless an error of the type named ``told_by`` tells it itself."""
    with _ONE_AT_A_TIME, ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            shown = os.dup(_STDERR)
        except OSError:  # nowhere to write, or a program without a stderr
            yield
            return
        os.dup2(held.fileno(), _STDERR)
        told = False
        try:
            yield
        except BaseException as error:
            told = type(error).__name__ == told_by
            raise
        finally:
            os.dup2(shown, _STDERR)
            os.close(shown)
            held.seek(0)
            if not told and (content := held.read()):
                os.write(_STDERR, content)

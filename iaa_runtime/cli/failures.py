"""What is said of failures that no other part of the program explains, and of signals that end it."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""Of torch on CUDA and MPS, and of its allocators of main memory, which raise a plain RuntimeError."""

_LONGEST_PATH = 259 if os.name == "nt" else None
"""Of Windows as it is installed; what it says of longer ones is that they are not there."""

_WAYS = {
    "batch": "a smaller --batch",
    "num_beams": "fewer --beams",
    "precision": "--precision int8 or int4",
    "max_new_tokens": "fewer --max-new-tokens",
    "new_tokens": "fewer --new-tokens",
    "device": "--device cpu",
}
"""What to lower, by the name of an option."""


class Terminated(KeyboardInterrupt):
    """Somebody asked the process to end; it ends as Ctrl-C ends it."""


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Turns the signals by which a system asks a process to end into :class:`Terminated`, while the context lasts.

    One that is ignored, as nohup has it, stays so.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {name: signal.getsignal(name) for name in _ENDING}
    for name, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(name, _terminate)
    try:
        yield
    finally:
        for name, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(name, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def explain(error: Exception, options: argparse.Namespace | None = None) -> str:
    """One sentence or two for people: the file, the reason, and what to do next.

    Args:
        error: what nothing else has explained.
        options: those of the command, if they could be read; advice names the ones it has.
    """
    if _is_out_of_memory(error):
        return f"The memory is not enough ({_first_line(error)}). {_less_memory(options)}"
    if isinstance(error, OSError) and error.strerror:
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{names or 'A file'}: {error.strerror}. Check the name, the permissions and the free space."
    return (
        f"{type(error).__name__}: {_first_line(error)}. The program did not expect this. Check the files and options "
        "that you gave; --debug shows where it happened, for a report."
    )


def too_long(error: Exception, options: argparse.Namespace | None = None) -> str:
    """What to add to the message of an error that comes of a path longer than Windows takes; else nothing."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    names = [cause.filename, cause.filename2] if isinstance(cause, OSError) else []
    for value in vars(options).values() if options else ():
        names += [word for word in (value if isinstance(value, list) else [value]) if str(word) in str(error)]
    if _LONGEST_PATH and any(len(os.path.abspath(name)) > _LONGEST_PATH for name in names if isinstance(name, str)):
        return " The path is longer than 260 characters: switch on Windows' long paths, or move it to a shorter one."
    return ""


def _first_line(error: Exception) -> str:
    text = next(iter(str(error).strip().splitlines()), "").rstrip(".") or "no reason given"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def _less_memory(options: argparse.Namespace | None) -> str:
    """What to lower, of the options that the command has."""
    given = vars(options) if options is not None else {}
    ways = [text for name, text in _WAYS.items() if name in given]
    return f"Try {', '.join(ways) or 'a smaller checkpoint'}; or free memory that other programs hold."

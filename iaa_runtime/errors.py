"""Exceptions of the runtime. Every message says what was wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from reprlib import Repr

Cancel = Callable[[], bool] | None
"""A caller's callback, asked ever so often: True ends the work. It may also raise what its own program stops by."""


class IAAError(Exception):
    """Base of every error that a user of the pack can cause and mend."""


class ConfigError(IAAError, ValueError):
    """A checkpoint's ``config.json`` describes something this runtime does not compute."""


class CheckpointError(IAAError, OSError):
    """A checkpoint's files are missing, incomplete or not what the config promises."""


class AdaptorError(CheckpointError):
    """An adaptor file is broken, or was taught on another model or task."""


class DownloadError(IAAError, OSError):
    """A download was asked for and could not be done."""


class RemoteError(IAAError):
    """A server that answers for us cannot be reached, refuses, or says what is no answer."""


class RefusedError(RemoteError):
    """A server refuses a request for what stands in it, such as a picture that it cannot open; it may take others."""


class NoAnswerError(RemoteError):
    """A server gave no answer, however often it was asked: it is down, or stumbles over what stands in the request.

    Attributes:
        among_others: the message where it is known to answer other requests.
    """

    def __init__(self, message: str, among_others: str) -> None:
        super().__init__(message)
        self.among_others = among_others


class InputError(IAAError, ValueError):
    """A prompt, image, phrase or option is not usable."""


class UsageError(InputError):
    """Arguments of a command that are no use together; the command line exits with 2."""


class ContextLengthError(InputError):
    """A prompt does not fit into the model's context window."""


class CutOffError(InputError):
    """An answer ended before it had the format that it is held to."""


class NumericsError(IAAError, ArithmeticError):
    """The model computed something that is no number."""


class Cancelled(Exception):  # noqa: N818 - an outcome the caller asked for, not a failure
    """Work stopped because the caller's ``cancelled`` callback returned True."""


def check_cancelled(cancelled: Cancel) -> None:
    """Raises :class:`Cancelled` once the caller's callback says so."""
    if cancelled is not None and cancelled():
        raise Cancelled("It was cancelled.")


class _Beginning(Repr):
    """Of objects that are none of Python's own, the kind alone: the rest may take several lines, or tell of paths."""

    def repr_instance(self, x: object, level: int) -> str:
        text = super().repr_instance(x, level)
        return f"a {type(x).__name__}" if text.startswith("<") or "\n" in text else text


_BEGINNING = _Beginning()
_BEGINNING.maxlevel, _BEGINNING.maxstring, _BEGINNING.maxother, _BEGINNING.maxlong = 4, 100, 100, 100


def spelled(value: object, longest: int = 60) -> str:
    """How a value is written in a message: of a large or deep one its beginning, at most ``longest`` characters."""
    try:
        text = _BEGINNING.repr(value)
    except ValueError:  # more digits than Python spells
        return "a number of thousands of digits"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

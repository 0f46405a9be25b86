"""Texts that callers give, one or several: alone, one is a sequence too, of its letters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InputError, spelled


def several(given: Any) -> list[Any]:
    """What is given, in a list: a text, or what cannot be gone through, as the only one."""
    return [given] if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) else list(given)


def texts(given: Any, what: str) -> list[str]:
    """One text or several, in a list.

    Args:
        given: a text, or texts.
        what: each is, with its article; begins the message.

    Raises:
        InputError: something among them is no text.
    """
    each = several(given)
    for one in each:
        if not isinstance(one, str):
            raise InputError(f"{what} is a text, and {spelled(one)} is none. Give a text, or a list of texts.")
    return each

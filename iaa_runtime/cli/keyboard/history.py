"""Lines that were typed, for the next time."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from ...errors import InputError
from ...jobs.files import json_line, write_bytes
from .state import state_folder

LINES = 1000
"""That are kept."""
LONGEST = 4000
"""Characters of a line that is kept."""


class History:
    """The last lines that were typed, one JSON text a line of a file; chats that run side by side share it."""

    def __init__(self) -> None:
        self._path = state_folder() / "chat-history.jsonl"

    def lines(self) -> list[str]:
        """All of them, oldest first. Drops from the file what is too old."""
        try:
            stored = self._path.read_bytes().splitlines()
        except OSError:
            return []
        if len(stored) > LINES:
            stored = stored[-LINES:]
            with suppress(InputError):
                write_bytes(self._path, b"\n".join(stored) + b"\n", overwrite=True)
                self._path.chmod(0o600)
        return [text for text in map(_text, stored) if text is not None]

    def add(self, line: str) -> None:
        """Appends a line, unless it is very long."""
        if len(line) <= LONGEST:
            with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as file:
                file.write(json_line(line))


def _text(stored: bytes) -> str | None:
    try:
        text = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    return text if isinstance(text, str) else None

"""Conversations that nobody saved, kept for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...jobs.files import write_jsonl
from ..keyboard.state import state_folder

CHATS = 10
"""That are kept."""


def keep_unsaved(records: Sequence[dict[str, Any]]) -> Path:
    """Writes a conversation to a file of its own; returns where. Removes the oldest of too many.

    Raises:
        InputError: it cannot be written.
    """
    folder = state_folder()
    path = folder / f"unsaved-chat-{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}.jsonl"
    write_jsonl(path, records)
    path.chmod(0o600)
    for old in sorted(folder.glob("unsaved-chat-*.jsonl"))[:-CHATS]:
        old.unlink(missing_ok=True)
    return path

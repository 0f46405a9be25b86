"""The one reader of small files: configs, indexes, tokenizers. It refuses what is no file, too large or too deep.

A checkpoint comes from anywhere, and so may what its files' names stand for: a pipe that nobody writes to, a device
that never ends.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

LARGEST = 4 << 20
"""Bytes of a JSON file; the index of the published checkpoint has 98 kB."""
DEEPEST = 64
"""Lists and objects inside one another; the published configs have 4."""

LFS_POINTER = b"version https://git-lfs"
"""How the few lines begin that Git leaves in place of a large file."""


def check_fetched(path: Path, begin: bytes) -> None:
    """Raises :class:`CheckpointError` where Git left a pointer in place of the file, by how that begins."""
    if begin.startswith(LFS_POINTER):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file. Run 'git lfs pull' in its folder, or download the file itself."
        )


def load_json(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """The object in a JSON file of at most ``largest`` bytes.

    Raises:
        CheckpointError: there is no such file, it is no regular one or too large, or holds no JSON object.
    """
    text = read_small(path, largest)
    check_fetched(path, text)
    try:
        content: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Fetch the file again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object. Fetch the file again.")
    if _is_deep(content):
        raise CheckpointError(f"{path} is nested more than {DEEPEST} levels deep. Fetch the file again.")
    return content


def read_small(path: Path, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file, at most ``largest``; raises :class:`CheckpointError` for any other, and for none."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(largest + 1) if regular else b""
    except FileNotFoundError:
        check_links([path])
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}. An IAA checkpoint is a folder with config.json, tokenizer.json "
            "and the weights; give the folder that holds them."
        ) from None
    except (IsADirectoryError, ValueError):  # the latter for a name with NUL
        regular = False
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from None
    if not regular:
        raise CheckpointError(f"{path} is no regular file. Put the file itself there.")
    if len(content) > largest:
        raise CheckpointError(f"{path} is larger than {largest >> 20} MB, as no such file is. Fetch the file again.")
    return content


def check_links(paths: Iterable[Path]) -> None:
    """Raises :class:`CheckpointError` for the first path that is a link to nothing; says where it leads."""
    if words := dangling(paths):
        raise CheckpointError(f"{words}. Fetch the file again, or connect the disk that it lies on.")


def dangling(paths: Iterable[Path]) -> str:
    """The first path that is a link to nothing, as into a cache that was emptied, in words; empty if there is none."""
    broken = (path for path in paths if os.path.islink(path) and not os.path.exists(path))
    return next((f"{path} is a link to {os.readlink(path)}, where nothing is" for path in broken), "")


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe, too, at once, which otherwise waits for somebody to write to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _is_deep(content: object) -> bool:
    level = [content]
    for _ in range(DEEPEST):
        level = [
            child
            for part in level
            for child in (part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True

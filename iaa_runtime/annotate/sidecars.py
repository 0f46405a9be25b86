"""Writes each caption as a ``.txt`` beside its picture, as trainers of image models expect."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from ..errors import InputError
from ..images.names import path_here
from ..jobs.files import check_output, open_input, write_bytes
from ..jobs.job import Row

Pairs = Callable[[], Iterable[tuple[Row, Row]]]
"""Starts an iteration over pairs of an item and its record."""


def write_sidecars(pairs: Pairs, *, overwrite: bool = False) -> int:
    """Writes ``photo.txt`` beside ``photo.jpg`` for every picture that has a caption.

    All files are checked before the first is written, so that a refusal leaves none replaced.

    Args:
        pairs: the items and their records.
        overwrite: replace existing files with other content.

    Returns:
        The number of captions.

    Raises:
        InputError: two pictures would share a file, or what is there has other content or is no file.
    """
    with closing(sqlite3.connect("")) as table:  # on disk: there may be millions
        table.execute("CREATE TABLE files (path BLOB PRIMARY KEY, image TEXT) WITHOUT ROWID")
        for image, path, caption in _captions(pairs()):
            _claim(table, image, path)
            check_output(path, overwrite=True)
            if not overwrite and path.exists() and not _says(path, caption):
                raise InputError(
                    f"{path} is there already and says something else. Give --overwrite to replace such files; the "
                    "annotations themselves are finished and kept."
                )
    count = 0
    for _, path, caption in _captions(pairs()):
        count += 1
        if not path.exists() or not _says(path, caption):
            write_bytes(path, caption, overwrite=overwrite)
    return count


def _says(path: Path, caption: bytes) -> bool:
    """Whether a file, however large, holds this caption."""
    with open_input(path) as file:
        return file.read(len(caption) + 1) == caption


def _claim(table: sqlite3.Connection, image: str, path: Path) -> None:
    key, name = os.fsencode(path), image.encode(errors="backslashreplace").decode()
    table.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (key, name))
    (first,) = table.execute("SELECT image FROM files WHERE path = ?", (key,)).fetchone()
    if first != name:
        raise InputError(f"{first} and {name} would share {path.name}. Rename one, or do without sidecars.")


def _captions(pairs: Iterable[tuple[Row, Row]]) -> Iterator[tuple[str, Path, bytes]]:
    for item, record in pairs:
        if "caption" in record:
            path = Path(path_here(item["path"], record["image"]))
            yield record["image"], path.with_suffix(".txt"), record["caption"].encode() + b"\n"

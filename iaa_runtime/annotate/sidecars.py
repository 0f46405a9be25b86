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
from ..jobs.same_file import folded, place, same_on_disk
from ..text.printable import printable

ENDING = ".txt"

Pairs = Callable[[], Iterable[tuple[Row, Row]]]
"""Starts an iteration over pairs of an item and its record."""


def check_sidecars(pictures: Iterable[Row]) -> None:
    """Checks where captions would go.

    Args:
        pictures: items, with ``image`` and ``path``.

    Raises:
        InputError: one would be written over its picture, or two pictures would share a file, under whatever spelling.
    """
    with closing(sqlite3.connect("")) as table:  # on disk: there may be millions
        table.execute("CREATE TABLE texts (place BLOB, path BLOB, image TEXT, PRIMARY KEY (place, path)) WITHOUT ROWID")
        for row in pictures:
            image, path = row["image"], path_here(row["path"], row["image"])
            if folded(Path(path).suffix) == ENDING:
                raise InputError(f"{image} ends as captions do, and would be written over. Do without sidecars.")
            key = os.fsencode(place(_text_of(path)))
            for other, name in table.execute("SELECT path, image FROM texts WHERE place = ?", (key,)):
                if _share(path, os.fsdecode(other)):
                    raise InputError(
                        f"{name} and {image} would share {_text_of(path).name}. Rename one, or do without sidecars."
                    )
            shown = image.encode(errors="backslashreplace").decode()
            table.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", (key, os.fsencode(path), shown))


def _share(path: str, other: str) -> bool:
    """Whether the captions of two pictures, whose names are alike but perhaps for case, would be one file."""
    if path == other or same_on_disk(path, other):
        return False  # one picture
    text, its = _text_of(path), _text_of(other)
    # A disk that finds the picture under the other's spelling does not tell the two texts apart either.
    return text == its or bool(same_on_disk(text, its) or same_on_disk(path, its.with_suffix(Path(path).suffix)))


def write_sidecars(pairs: Pairs, *, overwrite: bool = False) -> int:
    """Writes ``photo.txt`` beside ``photo.jpg`` for every picture that has a caption.

    Control characters are spelled, as the texts are for people, too. All files are checked before the first is written,
    so that a refusal leaves none replaced.

    Args:
        pairs: the items and their records.
        overwrite: replace existing files with other content.

    Returns:
        The number of captions.

    Raises:
        InputError: as :func:`check_sidecars`; or what is there has other content or is no file.
    """
    check_sidecars({"image": record["image"], **item} for item, record in pairs() if "caption" in record)
    for path, caption in _captions(pairs()):
        check_output(path, overwrite=True)
        if not overwrite and path.exists() and not _says(path, caption):
            raise InputError(
                f"{path} is there already and says something else. Give --overwrite to replace such files; the "
                "annotations themselves are finished and kept."
            )
    count = 0
    for path, caption in _captions(pairs()):
        count += 1
        if not path.exists() or not _says(path, caption):
            write_bytes(path, caption, overwrite=overwrite)
    return count


def _says(path: Path, caption: bytes) -> bool:
    """Whether a file, however large, holds this caption."""
    with open_input(path) as file:
        return file.read(len(caption) + 1) == caption


def _captions(pairs: Iterable[tuple[Row, Row]]) -> Iterator[tuple[Path, bytes]]:
    for item, record in pairs:
        if "caption" in record:
            yield _text_of(path_here(item["path"], record["image"])), printable(record["caption"]).encode() + b"\n"


def _text_of(path: str) -> Path:
    """The file of a picture's caption."""
    return Path(path).with_suffix(ENDING)

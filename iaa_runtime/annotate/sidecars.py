"""Writes each caption as a ``.txt`` beside its picture, as trainers of image models expect."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..images.names import path_here
from ..jobs.files import check_output, open_input, write_bytes
from ..jobs.job import Row
from ..jobs.same_file import folded, place, same_on_disk
from ..text.printable import printable

ENDING = ".txt"
LARGEST = 1 << 20
"""Bytes of a text that a caption is added to."""

Pairs = Callable[[], Iterable[tuple[Row, Row]]]
"""Starts an iteration over pairs of an item and its record."""
Existing = Literal["refuse", "skip", "overwrite", "append"]


@dataclass(frozen=True)
class Sidecars:
    """How captions are written.

    Attributes:
        prefix: put before each, as it is: a trainer's trigger word, say.
        suffix: put behind each.
        keep_lines: keep a caption's line ends; else each is one line, of which trainers read no more.
        existing: what becomes of a text that is there and says something else: all is refused before the first is
            written, it stays, it is replaced, or the caption is added behind it, once.
    """

    prefix: str = ""
    suffix: str = ""
    keep_lines: bool = False
    existing: Existing = "refuse"

    def content(self, caption: str) -> bytes:
        """A caption as it is written; control characters are spelled, as the texts are for people, too."""
        words = caption if self.keep_lines else re.sub(r"\s*\n\s*", " ", caption.strip())
        return printable(self.prefix + words + self.suffix).encode() + b"\n"

    def behind(self, before: bytes, content: bytes) -> bytes:
        """A text with a caption added, unless it ends in it."""
        kept, added = before.rstrip(), content.rstrip()
        if not kept or f" {kept.decode()}".replace("\n", " ").endswith(f" {added.decode()}".replace("\n", " ")):
            return before if kept else content
        return kept + (b"\n" if self.keep_lines else b" ") + content


@dataclass
class Written:
    """What became of the captions.

    Attributes:
        count: texts that say what they should.
        skipped: texts that were there and stayed.
        problems: why others were not written, a sentence each.
    """

    count: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)


class Places:
    """Where captions go: ``photo.txt`` beside ``photo.jpg``; ``photo.jpg.txt`` where there is a ``photo.png``, too.

    Attributes:
        twins: how many pictures have such a twin.
        example: the names of two of them.
    """

    def __init__(self, table: sqlite3.Connection, pictures: Iterable[Row]) -> None:
        self._table = table
        self.twins, self.example = 0, ("", "")
        table.execute("CREATE TABLE texts (place BLOB, path BLOB, image TEXT, PRIMARY KEY (place, path)) WITHOUT ROWID")
        table.execute("CREATE TABLE twins (path BLOB PRIMARY KEY) WITHOUT ROWID")
        for row in pictures:
            self._add(row["image"], path_here(row["path"], row["image"]))
        ((self.twins,),) = table.execute("SELECT count(*) FROM twins")
        for (path,) in table.execute("SELECT path FROM twins"):
            key = os.fsencode(place(_whole_name(os.fsdecode(path))))
            for (name,) in table.execute("SELECT image FROM texts WHERE place = ?", (key,)):
                text = _whole_name(os.fsdecode(path)).name
                raise InputError(f"{text} would be the caption of {name} and of a twin. Rename one of them.")

    def of(self, path: str) -> Path:
        """The file of a picture's caption."""
        found = self._table.execute("SELECT 1 FROM twins WHERE path = ?", (os.fsencode(path),)).fetchone()
        return _whole_name(path) if found else _stem(path)

    def _add(self, image: str, path: str) -> None:
        if folded(Path(path).suffix) == ENDING:
            raise InputError(f"{image} ends as captions do, and would be written over. Do without sidecars.")
        key, shown = os.fsencode(place(_stem(path))), image.encode(errors="backslashreplace").decode()
        for other, name in self._table.execute("SELECT path, image FROM texts WHERE place = ?", (key,)).fetchall():
            if _share(path, os.fsdecode(other)):
                self.example = self.example if self.example[0] else (name, shown)
                both = [(other,), (os.fsencode(path),)]
                self._table.executemany("INSERT OR IGNORE INTO twins VALUES (?)", both)
        self._table.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", (key, os.fsencode(path), shown))


@contextmanager
def places(pictures: Iterable[Row]) -> Iterator[Places]:
    """Looks where the captions of pictures would go; on disk, as there may be millions.

    Args:
        pictures: items, with ``image`` and ``path``.

    Raises:
        InputError: a caption would be written over its picture, or over that of another.
    """
    with closing(sqlite3.connect("")) as table:
        yield Places(table, pictures)


def write_sidecars(pairs: Pairs, settings: Sidecars | None = None) -> Written:
    """Writes the texts of all pictures that have a caption.

    Where a text's place is a folder or a link, or cannot be written to, that picture alone has none.

    Args:
        pairs: the items and their records.
        settings: how; as trainers expect when None.

    Raises:
        InputError: as :func:`places`; or a file has other content, and ``settings`` refuse that.
    """
    settings, written = settings or Sidecars(), Written()
    with places({"image": record["image"], **item} for item, record in pairs()) as where:

        def captions() -> Iterator[tuple[Path, bytes]]:
            for item, record in pairs():
                if "caption" in record:
                    yield where.of(path_here(item["path"], record["image"])), settings.content(record["caption"])

        if settings.existing == "refuse":
            for path, content in captions():
                if os.path.isfile(path) and not os.path.islink(path) and not _says(path, content):
                    raise InputError(
                        f"{path} is there already and says something else. Say with --existing what becomes of such "
                        "files: skip, overwrite or append. The annotations themselves are finished and kept."
                    )
        for path, content in captions():
            try:
                _write(path, content, settings, written)
            except InputError as error:
                written.problems.append(str(error))
    return written


def _write(path: Path, content: bytes, settings: Sidecars, written: Written) -> None:
    check_output(path, overwrite=True)
    if path.exists() and not _says(path, content):
        if settings.existing == "skip":
            written.skipped += 1
            return
        if settings.existing == "append":
            content = settings.behind(_content(path), content)
    if not path.exists() or not _says(path, content):
        write_bytes(path, content, overwrite=True)
    written.count += 1


def _content(path: Path) -> bytes:
    with open_input(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InputError(f"{path} is too long for a caption to be added to it ({LARGEST:,} bytes are the most).")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8, so no caption is added to it. Save it as such.") from None
    return content


def _says(path: Path, caption: bytes) -> bool:
    """Whether a file, however large, holds this caption."""
    with open_input(path) as file:
        return file.read(len(caption) + 1) == caption


def _share(path: str, other: str) -> bool:
    """Whether the captions of two pictures, whose names are alike but perhaps for case, would be one file."""
    if path == other or same_on_disk(path, other):
        return False  # one picture
    text, its = _stem(path), _stem(other)
    # A disk that finds the picture under the other's spelling does not tell the two texts apart either.
    return text == its or bool(same_on_disk(text, its) or same_on_disk(path, its.with_suffix(Path(path).suffix)))


def _stem(path: str) -> Path:
    return Path(path).with_suffix(ENDING)


def _whole_name(path: str) -> Path:
    return Path(f"{path}{ENDING}")

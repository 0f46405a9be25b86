"""Lists the pictures to annotate: from folders, patterns, single files, and lists in JSON lines or parquet.

They are sorted and deduplicated in a database on disk, so that millions of names take hardly any memory.
"""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images.load import endings
from ..images.names import matching, name_in_list, slashed, unquoted
from ..jobs.files import check_text, numbered_jsonl, numbered_lines, parsed_row
from ..jobs.job import Row, shortened
from ..jobs.same_file import folded, same_on_disk
from ..text.prompts import grounding_question
from .listed import Listed
from .parquet import read_rows
from .tars import tar_members

LISTS = (".jsonl", ".parquet")
IMAGE, FILE_NAME = "image", "file_name"
"""The column of pictures: as we write it, and as the ``metadata.jsonl`` of Hugging Face's imagefolder does."""
TAR = ".tar"
STDIN = "-"
"""The source that is a list on standard input."""
STDIN_NAME = "stdin"
"""What messages call it."""

_TABLE = """CREATE TABLE images (
    position INTEGER PRIMARY KEY, source INTEGER, name BLOB, path BLOB, folded BLOB, phrases TEXT, id TEXT,
    member BLOB, offset INTEGER, found INTEGER)"""
_KNOWN = -1
"""The source of those that the job has."""
_ONCE = "CREATE UNIQUE INDEX once ON images (path, phrases, ifnull(id, x''))"
_INSERT = "INSERT OR IGNORE INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
_COLUMNS = "name, path, phrases, id, member, offset"
_FOUND = f"UPDATE images SET found = 1 WHERE source = {_KNOWN} AND NOT found AND "
_SAME = "path = ? AND phrases = ? AND ifnull(id, x'') = ifnull(?, x'')"
_ALIKE = "folded, phrases, ifnull(id, x'')"
_TWINS = f"""CREATE TABLE twins AS SELECT position, path, {_ALIKE} FROM images
    WHERE ({_ALIKE}) IN (SELECT {_ALIKE} FROM images GROUP BY {_ALIKE} HAVING count(*) > 1)
    ORDER BY {_ALIKE}, position"""
"""Rows whose paths differ in nothing but what some disks do not see."""
_SHARED = "name IN (SELECT name FROM images GROUP BY name HAVING count(DISTINCT path) > 1)"
"""Whether a row's name is that of several pictures, as in lists of different folders."""


class PassedOver(Counter[str]):
    """How many files of folders and rows of lists are not taken, and why: hidden, of another ending, or given before.

    Attributes:
        gone: how many of the known ones no source names any more.
    """

    gone = 0

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {why}" for why, count in self.most_common())

    def note(self, name: str) -> bool:
        """Whether a file of a folder is taken."""
        ending = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            self["hidden"] += 1
        elif ending not in endings():
            self[f"ending in {ending}" if ending else "without an ending"] += 1
        else:
            return True
        return False


def list_images(
    sources: Sequence[str],
    folder: str | None = None,
    column: str = "image",
    passed_over: PassedOver | None = None,
    known: Iterable[Row] = (),
) -> Iterator[Row]:
    """Yields the pictures of all sources, each once, in an order that depends on nothing but their names.

    Args:
        sources: folders (with all below them and behind links, hidden ones left out), patterns such as
            ``photos/**/*.jpg``, pictures, and lists: ``.jsonl`` or ``.parquet`` with a column ``image``, and perhaps
            ``phrases`` and ``id``; ``-`` is one on standard input, in JSON lines or of names alone; ``.tar`` files of
            pictures, as WebDataset has them.
        folder: what relative names in lists start from; the list's own folder when None.
        column: the name of the lists' column of pictures.
        passed_over: counts what is not taken.
        known: such as were yielded before, and are not again.

    Yields:
        ``{"image": name as given, with forward slashes, "path": absolute, "phrases": […], "id": …}``, the last two
        only from lists; ``member`` and ``offset`` from tar files. A name that lists give to several pictures is no name
        of any: each has its path instead. Folders and patterns are sorted; lists and tar files keep their order. A
        picture that comes twice (with the same phrases and id), be it in another case where the disk sees none, stays
        at its first position.

    Raises:
        InputError: a source is none of these, or a row of a list cannot be used.
    """
    sources, passed = [unquoted(source) for source in sources], PassedOver() if passed_over is None else passed_over
    with closing(sqlite3.connect("")) as table:  # a temporary file, which SQLite removes
        table.execute(_TABLE)
        table.execute(_ONCE)
        table.executemany(_INSERT, (_columns(_KNOWN, Listed.from_row(row)) for row in known))
        for number, source in enumerate(sources):
            for listed in _pictures(source, folder, column, passed):
                columns = _columns(number, listed)
                if not table.execute(_INSERT, columns).rowcount:
                    is_known = table.execute(_FOUND + _SAME, (columns[2], *columns[4:6])).rowcount
                    passed["given before"] += not is_known
        passed["given before"] += _drop_other_spellings(table)
        ((passed.gone,),) = table.execute(f"SELECT count(*) FROM images WHERE source = {_KNOWN} AND NOT found")
        passed += PassedOver()  # drops what is 0
        # Rows of a list stay in its order; other pictures are ordered by name.
        lists = ", ".join(str(number) for number, source in enumerate(sources) if _keeps_order(source)) or "NULL"
        order = f"source, CASE WHEN source IN ({lists}) THEN x'' ELSE name END, position"
        rows = table.execute(f"SELECT {_COLUMNS}, {_SHARED} FROM images WHERE source > {_KNOWN} ORDER BY {order}")
        for name, path, phrases, identity, member, offset, is_shared in rows:
            given, whole, inside = map(os.fsdecode, (name, path, member))
            called = slashed(whole) if is_shared else given
            yield Listed(called, whole, tuple(json.loads(phrases)), identity, inside, offset).row()


def check_sources(sources: Sequence[str], folder: str | None = None) -> None:
    """Raises :class:`InputError` for a source, or a folder that names start from, which is nothing that there is."""
    for source in map(unquoted, sources):
        if source != STDIN and not os.path.exists(source) and not glob.has_magic(source):
            raise InputError(f"There is nothing at {source}. Give a folder, a pattern, a picture or a list.")
    if folder is not None and not os.path.isdir(folder):
        raise InputError(f"There is no folder {folder}. Check --images.")


def _columns(source: int, listed: Listed) -> tuple[Any, ...]:
    path = os.path.abspath(listed.file) + listed.path[len(listed.file) :]  # a name in a tar file may hold anything
    name, whole, alike, member = map(os.fsencode, (listed.name, path, folded(path), listed.member))
    return source, name, whole, alike, json.dumps(listed.phrases), listed.id, member, listed.offset


def _drop_other_spellings(table: sqlite3.Connection) -> int:
    """Leaves the first row of those that are one picture on its disk; returns how often one was given before."""
    dropped = 0
    table.execute(_TWINS)
    kept: list[tuple[int, bytes]] = []
    before: list[Any] = []
    for position, path, *alike in table.execute("SELECT * FROM twins ORDER BY rowid"):
        if alike != before:
            kept, before = [], alike
        first = next((at for at, other in kept if same_on_disk(os.fsdecode(path), os.fsdecode(other))), None)
        if first is None:
            kept.append((position, path))
        else:
            table.execute("DELETE FROM images WHERE position = ?", (position,))
            dropped += not table.execute(f"{_FOUND} position = ?", (first,)).rowcount
    return dropped


def _is_list(source: str) -> bool:
    return source == STDIN or (Path(source).suffix.lower() in LISTS and not os.path.isdir(source))


def _is_tar(source: str) -> bool:
    return source.lower().endswith(TAR)


def _keeps_order(source: str) -> bool:
    return _is_list(source) or _is_tar(source)


def _pictures(source: str, folder: str | None, column: str, passed: PassedOver) -> Iterator[Listed]:
    path = Path(source)
    if source == STDIN:
        yield from _list_rows(STDIN_NAME, _typed_rows(column), Path(folder or os.curdir), column)
    elif os.path.isdir(source):
        yield from _named(_walk(source, passed), f"There is no picture in {source} or below it")
    elif _is_tar(source) and os.path.exists(source):
        yield from _named_in(source, passed)
    elif _is_list(source):
        jsonl = path.suffix.lower() == ".jsonl"
        rows = numbered_jsonl(path) if jsonl else read_rows(path, (column, "phrases", "id"))
        yield from _list_rows(str(path), rows, Path(folder) if folder is not None else path.parent, column)
    elif os.path.exists(source):
        if path.suffix.lower() not in endings():
            raise InputError(f"{source} is no picture, folder, list or tar file. Lists end in .jsonl or .parquet.")
        yield Listed(slashed(source), source)
    elif glob.has_magic(source) and _is_tar(source):
        yield from chain.from_iterable(_named_in(tar, passed) for tar in sorted(matching(source)))
    elif glob.has_magic(source):
        names = (name for name in matching(source) if _is_picture(name) and os.path.isfile(name))
        yield from _named(names, f"The pattern {source} matches no picture")
    else:
        check_sources([source])


def _named(names: Iterator[str], if_none: str) -> Iterator[Listed]:
    """Pictures by their names; an error that begins with ``if_none`` if there is none."""
    empty = True
    for name in names:
        empty = False
        yield Listed(slashed(name), name)
    if empty:
        raise InputError(f"{if_none}. Endings looked for: {', '.join(sorted(endings()))}.")


def _named_in(source: str, passed: PassedOver) -> Iterator[Listed]:
    """Pictures in a tar file, in its order; an error if there is none."""
    empty = True
    for member, offset in tar_members(source):
        if passed.note(os.path.basename(member)):
            empty = False
            yield Listed(slashed(f"{source}/{member}"), f"{source}/{member}", member=member, offset=offset)
    if empty:
        raise InputError(f"There is no picture in {source}. Endings looked for: {', '.join(sorted(endings()))}.")


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in endings()


def _walk(folder: str, passed: PassedOver) -> Iterator[str]:
    """Pictures in a folder, those below it, and those that links lead to, each folder once."""

    def pass_over(error: OSError) -> None:
        if error.filename == folder:
            raise InputError(f"{error.filename} cannot be read ({error.strerror}). Check its permissions.") from error
        passed["in folders that cannot be read"] += 1

    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, onerror=pass_over, followlinks=True):
        about = os.stat(here)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(here, name) for name in names if passed.note(name))


def _typed_rows(column: str) -> Iterator[tuple[int, Row]]:
    """The rows of a list on standard input: JSON lines, or names alone, as ``find`` and ``ls`` write them."""
    source = getattr(sys.stdin, "buffer", None)
    if source is None:
        raise InputError("- stands for a list on standard input, which is closed. Give it something to read.")
    is_json: bool | None = None
    for number, line in numbered_lines(source, STDIN_NAME):
        if is_json is None:  # the first line decides
            is_json = line.lstrip().startswith(b"{")
        yield number, parsed_row(line, STDIN_NAME, number) if is_json else {column: _file_name(line, number)}


def _file_name(line: bytes, number: int) -> str:
    try:
        return os.fsdecode(line.rstrip(b"\r\n"))
    except UnicodeDecodeError:  # on Windows, where names are text
        raise InputError(
            f"{STDIN_NAME}, line {number}: {shortened(ascii(line))} is no text in UTF-8. Write the list as UTF-8."
        ) from None


def _list_rows(origin: str, rows: Iterable[tuple[int, Row]], folder: Path, column: str) -> Iterator[Listed]:
    for number, row in rows:
        where = f"{origin}, {'row' if origin.lower().endswith('.parquet') else 'line'} {number}"
        name = row.get(column, row.get(FILE_NAME) if column == IMAGE else None)
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{where}: {column!r} is {shortened(repr(name))}, not the path of a picture. Its columns are "
                f"{', '.join(row)}; name the right one with --column."
            )
        try:
            if b"\0" in os.fsencode(name):
                raise ValueError("NUL")
        except ValueError:
            raise InputError(f"{where}: {column!r} is {shortened(ascii(name))}, which no file is called.") from None
        name = name_in_list(folder, name)
        phrases, identity = _phrases(row.get("phrases"), where), _identity(row.get("id"), where)
        yield Listed(slashed(name), str(folder / name), phrases, identity)


def _phrases(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    phrases = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (None,)
    try:
        for phrase in phrases:
            grounding_question(phrase or "").encode()
    except (ValueError, AttributeError):
        raise InputError(
            f"{where}: 'phrases' is {shortened(repr(value))}; it must be a text or a list of texts, none empty."
        ) from None
    return phrases


def _identity(value: Any, where: str) -> str | None:
    if isinstance(value, str):
        check_text(value, f"{where}: 'id'")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: 'id' is {shortened(repr(value))}; it must be a text or a whole number.")
    return str(value)

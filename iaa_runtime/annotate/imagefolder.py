"""Annotations as ``metadata.jsonl`` beside pictures, as the ``imagefolder`` of Hugging Face's datasets reads it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import InputError
from ..jobs.files import make_folder, write_jsonl
from ..jobs.job import Row
from .listed import Listed
from .sidecars import Pairs
from .sources import FILE_NAME

METADATA = "metadata.jsonl"


def name_inside(folder: Path, item: Row) -> str:
    """A picture's name in a folder, with forward slashes; raises :class:`InputError` where it is not in there."""
    listed = Listed.from_row(item)
    name = os.path.relpath(listed.path, folder) if not listed.member and _one_drive(listed.path, folder) else ".."
    if name.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"{listed.name} is not in {folder}, and {METADATA} can name no pictures but those in its own folder and "
            "below it. Name the folder that holds all of them; pictures in tar files go to --webdataset."
        )
    return Path(name).as_posix()


def _one_drive(path: str, folder: Path) -> bool:
    return os.path.splitdrive(path)[0].lower() == os.path.splitdrive(os.path.abspath(folder))[0].lower()


def write_imagefolder(folder: Path, pairs: Pairs, *, overwrite: bool = False) -> None:
    """Writes a row for each picture that did not fail: ``file_name``, ``text`` and ``objects``, as far as asked for.

    ``objects`` hold ``bbox`` (``[x, y, width, height]`` in pixels, as COCO has them), ``categories`` (the phrases) and
    ``scores``, of one length. What several records say of one picture stands in one row.

    Args:
        folder: that holds the pictures.
        pairs: the items and their records.
        overwrite: replace a file with other content.
    """
    with closing(sqlite3.connect("")) as table:  # a temporary file: there may be millions
        table.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, name BLOB UNIQUE, row TEXT)")
        for item, record in pairs():
            if "error" not in record:
                name = name_inside(folder, item)
                key = os.fsencode(name)
                before = table.execute("SELECT row FROM rows WHERE name = ?", (key,)).fetchone()
                row = _joined(json.loads(before[0]) if before else {FILE_NAME: name}, record)
                table.execute("INSERT OR IGNORE INTO rows (name) VALUES (?)", (key,))
                table.execute("UPDATE rows SET row = ? WHERE name = ?", (json.dumps(row), key))

        def rows() -> Iterator[Row]:
            for (row,) in table.execute("SELECT row FROM rows ORDER BY position"):
                yield json.loads(row)

        make_folder(folder)
        write_jsonl(folder / METADATA, rows(), overwrite=overwrite)


def _joined(row: Row, record: Row) -> Row:
    """A picture's row with what a record says."""
    if "caption" in record:
        row.setdefault("text", record["caption"])
    if "detections" in record:
        objects = row.setdefault("objects", {"bbox": [], "categories": [], "scores": []})
        for box in record["detections"]:
            objects["bbox"].append([box[side] for side in ("x", "y", "width", "height")])
            objects["categories"].append(box["label"])
            objects["scores"].append(box["score"])
    return row

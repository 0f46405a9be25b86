"""Annotations as COCO JSON (Lin et al., 2014, arXiv 1405.0312): one file of boxes, one of captions.

Records stream from the shards to the file; memory holds only the distinct phrases. What two records say of one picture,
whatever they call it, belongs to one image, since tools look images up by their file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from ..jobs.files import make_folder, write_atomically
from ..jobs.job import Row
from .listed import Listed
from .sidecars import Pairs


def write_coco_boxes(path: Path, pairs: Pairs, *, overwrite: bool = False) -> None:
    """Writes boxes as COCO instances; a file that is there stays, unless ``overwrite`` or it says the same.

    ``pairs`` starts an iteration over a job's items and their records, in order.
    ``images`` have ``id`` (from 1, in the order of the records), ``file_name``, ``width`` and ``height``; pictures
    that failed are left out. ``annotations`` have ``bbox`` ``[x, y, width, height]`` in pixels, ``segmentation`` (the
    box as a polygon, which tools draw and rasterise), ``area``, ``iscrowd`` 0 and our ``score``. ``categories`` are the
    phrases that were looked for, found or not, numbered from 1 in order of first appearance.
    """
    categories: dict[str, int] = {}

    def annotations() -> Iterator[Row]:
        for number, record in _readable(pairs()):
            found = record.get("detections", ())
            for phrase in (*record.get("phrases", ()), *(d["label"] for d in found)):
                categories.setdefault(phrase, len(categories) + 1)
            for d in found:
                yield {
                    "image_id": number,
                    "category_id": categories[d["label"]],
                    "bbox": [d["x"], d["y"], d["width"], d["height"]],
                    "segmentation": [_polygon(d)],
                    "area": d["width"] * d["height"],
                    "iscrowd": 0,
                    "score": d["score"],
                }

    def named() -> Iterator[Row]:
        for name, number in categories.items():
            yield {"id": number, "name": name, "supercategory": "phrase"}

    # Categories come last in the file, since they are known only after the annotations.
    lists = {"images": lambda: _images(pairs), "annotations": lambda: _with_ids(annotations()), "categories": named}
    _write(path, lists, overwrite)


def write_coco_captions(path: Path, pairs: Pairs, *, overwrite: bool = False) -> None:
    """Writes captions likewise as COCO captions: ``annotations`` with ``image_id`` and ``caption``."""

    def annotations() -> Iterator[Row]:
        for number, record in _readable(pairs()):
            if "caption" in record:
                yield {"image_id": number, "caption": record["caption"]}

    _write(path, {"images": lambda: _images(pairs), "annotations": lambda: _with_ids(annotations())}, overwrite)


def _readable(pairs: Iterable[tuple[Row, Row]]) -> Iterator[tuple[int, Row]]:
    """Records of pictures that could be opened, with the ids of their files."""
    with closing(sqlite3.connect("")) as table:  # a temporary file: there may be millions
        table.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, path BLOB UNIQUE)")
        for item, record in pairs:
            if "error" in record:
                continue
            path = (os.fsencode(Listed.from_row(item).path),)
            table.execute("INSERT OR IGNORE INTO images (path) VALUES (?)", path)
            ((number,),) = table.execute("SELECT id FROM images WHERE path = ?", path)
            yield number, record


def _images(pairs: Pairs) -> Iterator[Row]:
    written = 0
    for number, record in _readable(pairs()):
        if number > written:
            written = number
            yield {"id": number, "file_name": record["image"], "width": record["width"], "height": record["height"]}


def _polygon(box: Row) -> list[int]:
    """The corners of a box, clockwise from the top left: x, y, x, y, …"""
    left, top, right, bottom = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
    return [left, top, right, top, right, bottom, left, bottom]


def _with_ids(rows: Iterable[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield {"id": number, **row}


def _write(path: Path, lists: dict[str, Callable[[], Iterator[Any]]], overwrite: bool) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b'{"info": {"description": "Annotated with IAA"}, "licenses": []')
        for name, rows in lists.items():
            file.write(f', "{name}": ['.encode())
            for index, row in enumerate(rows()):
                file.write((",\n" if index else "\n").encode() + json.dumps(row).encode())
            file.write(b"\n]")
        file.write(b"}\n")

    make_folder(path.parent)
    write_atomically(path, write, overwrite=overwrite)

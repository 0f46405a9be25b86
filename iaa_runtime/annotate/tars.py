"""Tar files of pictures, as WebDataset has them: a picture, and texts of the same name up to the first dot.

They are read with the standard library, since WebDataset's own reader goes through a file from its start, and a job
takes pictures from anywhere in it; they are written by the package itself.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError
from ..images.load import endings, format_of
from ..jobs.files import json_line, make_folder, open_input, write_atomically
from ..jobs.job import Job, Row
from .listed import Listed, tar_errors


def tar_members(path: str) -> Iterator[tuple[str, int]]:
    """Yields the names of the files in a tar file, and where they begin.

    Raises:
        InputError: it cannot be read, or is compressed, so that it has no beginnings.
    """
    with open_input(Path(path)) as file, tar_errors(path), tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if member.isreg() and "\0" not in member.name:
                yield member.name, member.offset


def check_webdataset() -> Any:
    """The package ``webdataset``; raises :class:`InputError` where it is not installed."""
    try:
        import webdataset
    except ImportError:
        raise InputError(
            "WebDataset's shards are written by the package webdataset, which is not installed. Install it with: pip "
            "install webdataset."
        ) from None
    return webdataset


def shard_file(folder: Path, number: int) -> Path:
    """The tar file of a job's shard."""
    return folder / f"{number:06d}.tar"


def write_webdataset(folder: Path, job: Job, *, overwrite: bool = False) -> list[str]:
    """Writes a tar file for each shard of a job: of each picture its file, a ``txt`` of its caption and a ``json``.

    Args:
        folder: of the files, which are named by :func:`shard_file`.
        job: done; pictures that failed are left out.
        overwrite: replace files with other content.

    Returns:
        Why pictures could not be read, a sentence each. A file that is there is not replaced by one that lacks them: it
        may hold them.
    """
    writer, problems = check_webdataset().TarWriter, list[str]()
    make_folder(folder)
    for number, rows in job.rows(range(job.shards)):
        samples = zip(job.spans[number], rows, job.format.read(job.shard(number)), strict=True)
        shard, lacking = shard_file(folder, number), list[str]()

        def write(
            file: BinaryIO,
            samples: Iterator[tuple[int, Row, Row]] = samples,
            shard: Path = shard,
            lacking: list[str] = lacking,
        ) -> None:
            with writer(file, encoder=False, mtime=0) as tar:
                for key, item, record in samples:
                    try:
                        if "error" not in record:
                            tar.write(_sample(key, Listed.from_row(item), record))
                    except InputError as error:
                        lacking.append(str(error))
            if lacking and shard.exists():
                raise _LackingError

        try:
            write_atomically(shard, write, overwrite=overwrite)
        except _LackingError:
            lacking = [f"{problem} {shard} stays as it is." for problem in lacking]
        problems += lacking
    return problems


class _LackingError(Exception):
    """Pictures of a file that is there could not be read again."""


def _sample(key: int, listed: Listed, record: Row) -> dict[str, Any]:
    """A picture with its record; the key has no dot, at which a name's ending begins."""
    content, ending = listed.read(), os.path.splitext(listed.path)[1].lower()
    if ending not in endings():  # a list may name any file
        ending = f".{format_of(content, listed.path).lower()}"
    caption = {"txt": record["caption"].encode(errors="backslashreplace")} if "caption" in record else {}
    return {"__key__": f"{key:09d}", ending[1:]: content, "json": json_line(record)} | caption

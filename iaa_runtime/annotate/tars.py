"""Tar files of pictures, as WebDataset has them: a picture, and texts of the same name up to the first dot.

They are read with the standard library, since WebDataset's own reader goes through a file from its start, and a job
takes pictures from anywhere in it; they are written by the package itself.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from ..errors import InputError
from ..images.limits import check_pixels
from ..images.load import endings, format_of, load_image, turn_of
from ..jobs.files import json_line, make_folder, open_input, write_atomically
from ..jobs.job import Job, Row
from .listed import Listed, tar_errors

LOSSY, QUALITY = ("JPEG", "WEBP", "AVIF"), 95
"""Formats whose writers take a quality, and that of upright copies: more would grow the file, and show nothing."""


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

    Of a picture that its EXIF tag turns, it is an upright copy in the same format: sides and boxes are those of the
    upright picture, and WebDataset's readers turn none.

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
    kind = format_of(content, listed.path)
    if ending not in endings():  # a list may name any file
        ending = f".{kind.lower()}"
    content = _upright(content, "JPEG" if kind == "MPO" else kind, listed.path)  # an MPO is several JPEGs
    caption = {"txt": record["caption"].encode(errors="backslashreplace")} if "caption" in record else {}
    return {"__key__": f"{key:09d}", ending[1:]: content, "json": json_line(record)} | caption


def _upright(content: bytes, kind: str, name: str) -> bytes:
    """The file of a picture, or where its EXIF tag turns it, that of an upright copy in 8-bit RGB.

    Args:
        content: the file.
        kind: its format, by Pillow's name.
        name: for messages.

    Raises:
        InputError: it cannot be opened, or not be written in its format.
    """
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as opened:
            check_pixels(opened.size, name)  # to find a PNG's tag, Pillow decodes it
            if turn_of(opened) is None:
                return content
            profile = opened.info.get("icc_profile") if opened.mode.startswith("RGB") else None  # of these colours
        copy, settings = io.BytesIO(), {"quality": QUALITY} if kind in LOSSY else {}
        load_image(io.BytesIO(content)).save(copy, kind, icc_profile=profile, **settings)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly any
        raise InputError(f"{name} could not be turned upright ({error}). Save it upright.") from error
    return copy.getvalue()

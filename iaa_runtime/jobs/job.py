"""A job on disk: the list of items as it was at the first start, the settings, and a file for each finished shard."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ..errors import IAAError, InputError
from .files import (
    TEMPORARY,
    check_output,
    json_line,
    make_folder,
    open_input,
    read_jsonl,
    read_text,
    write_bytes,
    write_jsonl,
)
from .process_group import ProcessGroup

log = logging.getLogger(__name__)

MANIFEST, LIST = "manifest.json", "items.jsonl"
_FORMAT = 1

Row = dict[str, Any]
"""One item of the list, or one record of a shard."""


class ShardFormat(Protocol):
    """How the records of a shard are written and read.

    Attributes:
        suffix: of a shard's file, such as ``.jsonl``.
    """

    suffix: str

    def write(self, path: Path, records: list[Row]) -> None: ...
    def read(self, path: Path) -> Iterator[Row]: ...


class Jsonl:
    """A JSON object a line."""

    suffix = ".jsonl"

    def write(self, path: Path, records: list[Row]) -> None:
        """Writes a shard, whole or not at all."""
        write_jsonl(path, records, overwrite=True)

    def read(self, path: Path) -> Iterator[Row]:
        """Yields a shard's records."""
        return read_jsonl(path)


@dataclass(frozen=True)
class Job:
    """An open job.

    Attributes:
        folder: holds its files.
        count: items in all.
        shard_size: items in a shard; the last may have fewer.
        format: of the shards.
    """

    folder: Path
    count: int
    shard_size: int
    format: ShardFormat

    @property
    def shards(self) -> int:
        """The number of shards, missing ones included."""
        return -(-self.count // self.shard_size)

    def shard(self, number: int) -> Path:
        """A shard's file."""
        return self.folder / f"shard-{number:06d}{self.format.suffix}"

    def missing(self) -> list[int]:
        """The numbers of shards that are still to be computed."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()  # one call for tens of thousands
        return [number for number in range(self.shards) if self.shard(number).name not in there]

    def discard_damaged(self, is_record: Callable[[Row], bool]) -> None:
        """Removes shards that do not hold as many records as they were written with, so that they are made anew."""
        for number in set(range(self.shards)) - set(self.missing()):
            path, size = self.shard(number), min(self.shard_size, self.count - number * self.shard_size)
            try:
                whole = [is_record(record) for record in self.format.read(path)] == [True] * size
            except InputError:
                whole = False
            if not whole:
                check_output(path, overwrite=True)  # a folder or a link of that name is not ours
                log.warning("%s does not hold its %s records: it was changed or cut, and is made anew.", path, size)
                path.unlink()

    def done(self) -> int:
        """Items in finished shards."""
        missing = self.missing()
        ragged = self.shards * self.shard_size - self.count if self.shards - 1 in missing else 0
        return self.count - len(missing) * self.shard_size + ragged

    def rows(self, wanted: Iterable[int]) -> Iterator[tuple[int, list[Row]]]:
        """Yields the wanted shards' numbers, ascending, with their items; holds one shard at a time in memory."""
        with (self.folder / LIST).open("rb") as lines:
            here = 0
            for number in sorted(wanted):
                start = number * self.shard_size
                for _ in islice(lines, start - here):
                    pass
                yield number, [json.loads(line) for line in islice(lines, self.shard_size)]
                here = start + self.shard_size

    def records(self) -> Iterator[Row]:
        """Yields every record, in the order of the list.

        Raises:
            IAAError: shards are missing.
        """
        for number in range(self._finished()):
            yield from self.format.read(self.shard(number))

    def pairs(self) -> Iterator[tuple[Row, Row]]:
        """Yields every item with its record; raises as :meth:`records` does."""
        for number, rows in self.rows(range(self._finished())):
            yield from zip(rows, self.format.read(self.shard(number)), strict=True)

    def _finished(self) -> int:
        """The number of shards; raises where one is missing."""
        missing = self.missing()
        if missing:
            raise IAAError(
                f"{len(missing)} of {self.shards} shards are missing in {self.folder}, the first is "
                f"{self.shard(missing[0]).name}. Run the same command again; on several machines, {self.folder} must "
                "be on a disk that all of them share."
            )
        return self.shards

    def tidy(self) -> None:
        """Removes files that a killed process left half-written; nothing but our own."""
        for name in (LIST, MANIFEST, f"shard-*{self.format.suffix}"):
            for half in self.folder.glob(f".{name}.*{TEMPORARY}"):
                half.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the job's files, and its folder if nothing else is in it."""
        self.tidy()
        for path in [self.folder / LIST, self.folder / MANIFEST, *map(self.shard, range(self.shards))]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def open_job(
    folder: Path,
    settings: Row,
    rows: Callable[[], Iterable[Row]],
    shard_size: int,
    shard_format: ShardFormat | None = None,
    group: ProcessGroup | None = None,
    is_record: Callable[[Row], bool] = bool,
    dry_run: bool = False,
) -> tuple[Job, bool]:
    """Starts a job, or resumes the one that the folder holds.

    Args:
        folder: the job's; created if absent.
        settings: everything that decides what the shards hold, as JSON.
        rows: gives the items; called at the first start only, so that a folder that grows does not shift them. What it
            raises leaves no job behind, so it is the place to refuse settings.
        shard_size: items in a shard.
        shard_format: JSON lines when None.
        group: the processes that work on it; this one alone when None.
        is_record: whether an object in a shard has the fields of a record, each of its kind.
        dry_run: write nothing: the job is as it would be, and its folder may not be there.

    Returns:
        The job, and whether it was resumed.

    Raises:
        InputError: the folder holds a job with other settings, or something else, its list of items is damaged, or
            there are no items.
    """
    group, shard_format = group or ProcessGroup(), shard_format or Jsonl()
    settings = json.loads(json.dumps({**settings, "shard_size": shard_size, "format": shard_format.suffix[1:]}))
    known = check_folder(folder)
    if dry_run and not known:
        return Job(folder, _counted(rows()), shard_size, shard_format), False
    group.barrier()  # before the main process changes what the others have just looked at
    if group.is_main and not known:
        _start(folder, settings, rows)
    group.barrier()
    manifest = _read_manifest(folder)
    _compare(folder, manifest["settings"], settings)
    job = Job(folder, manifest["count"], shard_size, shard_format)
    if group.is_main and known and not dry_run:
        _check_list(folder, manifest)
        job.discard_damaged(is_record)
    group.barrier()  # before the others look which shards are missing
    return job, known


def check_folder(folder: Path) -> bool:
    """Whether a folder holds a job; raises :class:`InputError` where it neither does nor may become one."""
    try:
        if (folder / MANIFEST).exists():
            return True
        there = folder.iterdir() if os.path.lexists(folder) else ()
        strange = [path.name for path in there if not path.name.endswith(TEMPORARY)]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} cannot be used ({getattr(error, 'strerror', error)}). Choose another place."
        ) from error
    if strange:
        raise InputError(
            f"{folder} holds something, and no job of ours ({sorted(strange)[0]}). Choose a new or an empty folder; "
            "if a start was cut short there, remove what it left."
        )
    return False


def _start(folder: Path, settings: Row, rows: Callable[[], Iterable[Row]]) -> None:
    make_folder(folder)
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows():
            count += 1
            yield row
        _check_count(count)

    write_jsonl(folder / LIST, counted())
    manifest = {"version": _FORMAT, "count": count, "list": _digest(folder / LIST), "settings": settings}
    write_bytes(folder / MANIFEST, json_line(manifest))


def _counted(rows: Iterable[Row]) -> int:
    return _check_count(sum(1 for _ in rows))


def _check_count(count: int) -> int:
    if not count:
        raise InputError("There is nothing to do: the list is empty. Check what you gave.")
    return count


def _check_list(folder: Path, manifest: Row) -> None:
    """Raises :class:`InputError` unless the list of items is that of the first start; old manifests do not say."""
    if "list" in manifest and manifest["list"] != _digest(folder / LIST):
        raise InputError(
            f"{folder / LIST} does not hold the {manifest['count']:,} items that the job began with: it was changed "
            "or cut. Start anew in another folder."
        )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> Row:
    try:
        manifest: Row = json.loads(read_text(folder / MANIFEST))
        if manifest["version"] != _FORMAT:
            reason = f"it has version {manifest['version']}, and this program writes {_FORMAT}"
        elif type(manifest["count"]) is int and manifest["count"] > 0 and manifest["settings"].keys():
            return manifest
        else:
            reason = "it was not written so"
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    raise InputError(
        f"{folder / MANIFEST} cannot be read ({reason}). On several machines the folder must be on a disk that all "
        "share. Otherwise start anew in another folder."
    )


def _compare(folder: Path, there: Row, here: Row) -> None:
    changed = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if changed:
        listed = "; ".join(
            f"{name} is {_show(there.get(name))} there and {_show(here.get(name))} now" for name in changed
        )
        raise InputError(
            f"{folder} holds a job with other settings: {listed}. Give the same ones to go on with it, or another "
            "folder for a job of its own."
        )


def _show(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False))


def shortened(text: str, limit: int = 60) -> str:
    """``text`` for a message, cut to about ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "…"

"""A job on disk: the lists of its items, a file for each finished shard, and the records so far of those begun."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ..errors import IAAError, InputError
from .files import (
    TEMPORARY,
    append_bytes,
    check_output,
    json_line,
    open_input,
    read_jsonl,
    read_torn_jsonl,
    write_jsonl,
)

log = logging.getLogger(__name__)

MANIFEST, FIRST_LIST = "manifest.json", "items.jsonl"

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
        counts: items of the first start, and of each addition since; an addition begins a shard of its own.
        shard_size: items in a shard; the last of a start or addition may have fewer.
        batch: items computed at once; of a shard that is begun, whole batches are kept.
        format: of the shards.
        is_record: whether an object in a shard has the fields of a record, each of its kind.
    """

    folder: Path
    counts: tuple[int, ...]
    shard_size: int
    batch: int
    format: ShardFormat
    is_record: Callable[[Row], bool] = bool

    @property
    def count(self) -> int:
        """Items in all."""
        return sum(self.counts)

    @cached_property
    def spans(self) -> list[range]:
        """The numbers of each shard's items."""
        spans: list[range] = []
        begin = 0
        for count in self.counts:
            end = begin + count
            spans += (range(at, min(at + self.shard_size, end)) for at in range(begin, end, self.shard_size))
            begin = end
        return spans

    @property
    def shards(self) -> int:
        """The number of shards, missing ones included."""
        return len(self.spans)

    def list_file(self, part: int) -> Path:
        """The file of the items of the first start (0), or of an addition."""
        return self.folder / (FIRST_LIST if part == 0 else f"items-{part:06d}.jsonl")

    def shard(self, number: int) -> Path:
        """A finished shard's file."""
        return self.folder / f"shard-{number:06d}{self.format.suffix}"

    def begun(self, number: int) -> Path:
        """The file of a shard's records so far."""
        return self.folder / f"begun-{number:06d}.jsonl"

    def missing(self) -> list[int]:
        """The numbers of shards that are still to be computed, or finished."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()  # one call for tens of thousands
        return [number for number in range(self.shards) if self.shard(number).name not in there]

    def discard_damaged(self) -> None:
        """Removes shards that do not hold as many records as they were written with, so that they are made anew."""
        for number in set(range(self.shards)) - set(self.missing()):
            path, size = self.shard(number), len(self.spans[number])
            try:
                whole = [self.is_record(record) for record in self.format.read(path)] == [True] * size
            except InputError:
                whole = False
            if not whole:
                check_output(path, overwrite=True)  # a folder or a link of that name is not ours
                log.warning("%s does not hold its %s records: it was changed or cut, and is made anew.", path, size)
                path.unlink()

    def done(self) -> int:
        """Items that have a record."""
        missing, begun = self.missing(), {path.name for path in self._begun()}
        kept = sum(len(self.kept(number)) for number in missing if self.begun(number).name in begun)
        return self.count - sum(len(self.spans[number]) for number in missing) + kept

    def kept(self, number: int) -> list[Row]:
        """The records so far of a shard that is begun: those of whole batches, from its first item on.

        Each stands with its item's number, so that a line that was torn, or written by two processes, is passed over.
        """
        records: list[Row] = []
        span = self.spans[number]
        for line in read_torn_jsonl(self.begun(number)):
            record = line.get("record")
            if line.get("item") == span.start + len(records) and isinstance(record, dict) and self.is_record(record):
                records.append(record)
        return records[: min(len(records), len(span) - 1) // self.batch * self.batch]

    def keep(self, number: int, before: int, records: Iterable[Row]) -> None:
        """Adds a batch's records to the ``before`` ones that are kept of a shard."""
        first = self.spans[number].start + before
        lines = (json_line({"item": item, "record": record}) for item, record in enumerate(records, first))
        append_bytes(self.begun(number), b"\n" + b"".join(lines))  # the line before may be torn

    def finish(self, number: int, records: list[Row]) -> None:
        """Writes a shard, in place of what was kept of it."""
        self.format.write(self.shard(number), records)
        self.begun(number).unlink(missing_ok=True)

    def _begun(self) -> set[Path]:
        there = set(self.folder.glob("begun-*.jsonl"))
        return {path for path in map(self.begun, range(self.shards)) if path in there} if there else there

    def rows(self, wanted: Iterable[int]) -> Iterator[tuple[int, list[Row]]]:
        """Yields the wanted shards' numbers, ascending, with their items; holds one shard at a time in memory."""
        lines, here = self._lines(), 0
        for number in sorted(wanted):
            span = self.spans[number]
            for _ in islice(lines, span.start - here):
                pass
            yield number, [json.loads(line) for line in islice(lines, len(span))]
            here = span.stop

    def items(self) -> Iterator[Row]:
        """Yields every item, in the order of the lists."""
        return map(json.loads, self._lines())

    def _lines(self) -> Iterator[bytes]:
        for part in range(len(self.counts)):
            with open_input(self.list_file(part)) as lines:
                yield from lines

    def records(self) -> Iterator[Row]:
        """Yields every record, in the order of the lists.

        Raises:
            IAAError: shards are missing.
        """
        for number in range(self._finished()):
            yield from self.format.read(self.shard(number))

    def records_so_far(self) -> Iterator[Row]:
        """Yields the records that are there, also of shards that are begun; of a damaged one, those before the harm."""
        missing = set(self.missing())
        for number in range(self.shards):
            with suppress(InputError):
                yield from self.kept(number) if number in missing else self.format.read(self.shard(number))

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
        """Removes files that a killed process left behind; nothing but our own."""
        for name in ("items*.jsonl", MANIFEST, f"shard-*{self.format.suffix}"):
            for half in self.folder.glob(f".{name}.*{TEMPORARY}"):
                half.unlink(missing_ok=True)
        for begun in self._begun() - {self.begun(number) for number in self.missing()}:
            begun.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the job's files, and its folder if nothing else is in it."""
        self.tidy()
        lists = map(self.list_file, range(len(self.counts)))
        numbers = range(self.shards)
        for path in [*lists, self.folder / MANIFEST, *map(self.shard, numbers), *map(self.begun, numbers)]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def shortened(text: str) -> str:
    """``text`` for a message, cut to about 60 characters."""
    return text if len(text) <= 60 else text[:57] + "…"

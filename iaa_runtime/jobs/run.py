"""Runs a job: computes this process's shards, loading items ahead of the model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from .job import Job, Row
from .process_group import ProcessGroup
from .progress import Progress

log = logging.getLogger(__name__)

LOADERS = min(8, os.cpu_count() or 1)
"""Threads that load items ahead of the model."""

SECONDS_BETWEEN_COUNTS = 10.0
"""How often a process checks what the others have finished."""


class _Batch(NamedTuple):
    shard: int
    records: list[Row]
    """Of the shard's items before, to which those of this batch are added."""
    rows: list[Row]
    loaded: list[Future[Any]]


def run_job(
    job: Job,
    load: Callable[[Row], Any],
    work: Callable[[list[Row], list[Any]], list[Row]],
    group: ProcessGroup | None = None,
    on_batch: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> None:
    """Computes every missing shard whose number, modulo the number of processes, is this process's rank.

    Batches never cross the end of a shard, and each starts afresh: a record follows, to the last bit, from the list and
    the settings alone, not from what was computed before. Each is kept as soon as it is there; whatever ends the run
    costs the batch that was being computed.

    Args:
        job: the open job.
        load: loads one item, in a thread; what it raises stops the job.
        work: makes the records of a batch from its items and what was loaded for them.
        group: the processes that work on it, all of which are waited for; this one alone when None.
        on_batch: called before each batch, to clear state that might change its content.
        progress: updated with the items done; given in the main process only.
    """
    group = group or ProcessGroup()
    own = [number for number in job.missing() if number % group.world_size == group.rank]
    count = _Count(job, group) if progress is not None else None
    try:
        with ThreadPoolExecutor(LOADERS, thread_name_prefix="load") as pool:
            try:
                for batch in _ahead(_batches(job, own, load, pool)):
                    on_batch()
                    made = work(batch.rows, [future.result() for future in batch.loaded])
                    _store(job, batch, made)
                    if progress is not None and count is not None:
                        progress.update(count.add(len(made)))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        group.barrier()
    except BaseException:
        if progress is not None:
            progress.finish(done := job.done())
            log.info("%s of %s are kept in %s; the same command goes on.", f"{done:,}", f"{job.count:,}", job.folder)
        raise
    if progress is not None:
        progress.finish(job.done())
    if group.is_main:
        job.tidy()


def retry_failed(
    job: Job,
    failed: Callable[[Row], bool],
    load: Callable[[Row], Any],
    work: Callable[[list[Row], list[Any]], list[Row]],
    group: ProcessGroup | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> None:
    """Computes the failed records of a finished job once more; each batch's shard is replaced, whole or not at all.

    Args:
        job: as of :func:`run_job`, as are the others.
        failed: whether a record says that there is no result.
    """
    group = group or ProcessGroup()
    own: dict[int, list[int]] = {}
    for number in range(group.rank, job.shards, group.world_size):
        if places := [place for place, record in enumerate(job.format.read(job.shard(number))) if failed(record)]:
            own[number] = places
    progress = Progress(sum(map(len, own.values())), what="failed ones") if group.is_main and own else None
    tried = 0
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="load") as pool:
        for number, rows in job.rows(own):
            records = list(job.format.read(job.shard(number)))
            for start in range(0, len(own[number]), job.batch):
                places = own[number][start : start + job.batch]
                on_batch()
                again = [rows[place] for place in places]
                for place, record in zip(places, work(again, list(pool.map(load, again))), strict=True):
                    records[place] = record
                job.finish(number, records)
                tried += len(places)
                if progress is not None:
                    progress.update(tried)
    group.barrier()
    if progress is not None:
        progress.finish(tried)


def _store(job: Job, batch: _Batch, made: list[Row]) -> None:
    """Keeps a batch's records, or finishes its shard with them."""
    before = len(batch.records)
    batch.records.extend(made)
    if len(batch.records) == len(job.spans[batch.shard]):
        job.finish(batch.shard, batch.records)
    else:
        job.keep(batch.shard, before, made)


class _Count:
    """Items done by all processes: this one's at once, the others' by finished shards, checked now and then."""

    def __init__(self, job: Job, group: ProcessGroup) -> None:
        self._job, self._alone = job, group.world_size == 1
        self._done, self._checked = job.done(), time.monotonic()

    def add(self, items: int) -> int:
        """Adds items of this process, and returns the items done by all."""
        self._done += items
        if not self._alone and time.monotonic() - self._checked > SECONDS_BETWEEN_COUNTS:
            self._done, self._checked = max(self._done, self._job.done()), time.monotonic()
        return min(self._done, self._job.count)


def _batches(job: Job, own: list[int], load: Callable[[Row], Any], pool: ThreadPoolExecutor) -> Iterator[_Batch]:
    for number, rows in job.rows(own):
        records = job.kept(number)
        for start in range(len(records), len(rows), job.batch):
            chosen = rows[start : start + job.batch]
            yield _Batch(number, records, chosen, [pool.submit(load, row) for row in chosen])


def _ahead(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Yields each batch once the next one has begun to load."""
    waiting: _Batch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting

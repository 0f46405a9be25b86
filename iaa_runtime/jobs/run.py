"""Computes the shards of a job that fall to this process, loading ahead of the model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from .job import Job, Row
from .process_group import Team
from .progress import Progress

LOADERS = min(8, os.cpu_count() or 1)
"""Threads that read items ahead of the model."""


SECONDS_BETWEEN_COUNTS = 10.0
"""How often a process looks what the others have finished."""


class _Batch(NamedTuple):
    shard: int
    rows: list[Row]
    loaded: list[Future[Any]]
    first: bool
    last: bool


def run_job(
    job: Job,
    batch: int,
    load: Callable[[Row], Any],
    work: Callable[[list[Row], list[Any]], list[Row]],
    team: Team | None = None,
    on_shard: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Computes every missing shard whose number is this process's, modulo the number of processes.

    Batches never reach over the end of a shard, and each shard starts afresh: what a record holds to the last bit
    follows from the list and the settings alone, not from what was computed before.

    Args:
        job: the open job.
        batch: items that are worked on at once.
        load: reads one item, in a thread; what it raises stops the job.
        work: given the items of a batch and what was loaded for them, returns their records.
        team: the processes that work on it; returns when all are done.
        on_shard: called before each shard, to forget what might change its content.
        progress: told, in the main process, about items done.
    """
    team = team or Team()
    own = [number for number in job.missing() if number % team.size == team.index]
    records: list[Row] = []
    count = _Count(job, team) if progress is not None else None
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="load") as pool:
        try:
            for item in _ahead(_batches(job, own, batch, load, pool)):
                if item.first and on_shard is not None:
                    on_shard()
                records += work(item.rows, [future.result() for future in item.loaded])
                if item.last:
                    job.format.write(job.shard(item.shard), records)
                    records = []
                if progress is not None and count is not None:
                    progress.update(count.add(len(item.rows)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    team.wait()
    if progress is not None:
        progress.finish(job.done())
    if team.is_main:
        job.tidy()


class _Count:
    """Items done by all processes: this one's as they come, the others' by shards, looked up now and then."""

    def __init__(self, job: Job, team: Team) -> None:
        self._job, self._alone = job, team.size == 1
        self._done, self._looked = job.done(), time.monotonic()

    def add(self, items: int) -> int:
        """Counts this process's items and returns all."""
        self._done += items
        if not self._alone and time.monotonic() - self._looked > SECONDS_BETWEEN_COUNTS:
            self._done, self._looked = max(self._done, self._job.done()), time.monotonic()
        return min(self._done, self._job.count)


def _batches(
    job: Job, own: list[int], size: int, load: Callable[[Row], Any], pool: ThreadPoolExecutor
) -> Iterator[_Batch]:
    for number, rows in job.rows(own):
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            loaded = [pool.submit(load, row) for row in chosen]
            yield _Batch(number, chosen, loaded, start == 0, start + size >= len(rows))


def _ahead(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Yields each batch after the next one has begun to load."""
    waiting: _Batch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting

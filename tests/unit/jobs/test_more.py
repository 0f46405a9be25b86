"""Jobs that get more items, and failed records that are computed again, by any number of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.jobs.job import Job, Row
from iaa_runtime.jobs.process_group import ProcessGroup
from iaa_runtime.jobs.run import retry_failed, run_job
from iaa_runtime.jobs.start import open_job


class Alone(ProcessGroup):
    """A process of a group that does not wait for the others."""

    def barrier(self) -> None: ...


def start(folder: Path, *more: int) -> Job:
    rows = [{"number": number} for number in range(7)]
    return open_job(
        folder, {"model": "m"}, lambda: rows, 3, 2, more=lambda job: ({"number": number} for number in more)
    )[0]


def take(batch: list[Row], _: list[Any]) -> list[Row]:
    return [{"number": row["number"], "root": row["number"] ** 0.5} for row in batch]


def fail_odd(batch: list[Row], _: list[Any]) -> list[Row]:
    return [{"error": "odd"} if row["number"] % 2 else row for row in batch]


@pytest.mark.parametrize("size", [1, 2])
def test_added_items_begin_shards_of_their_own(size: int, tmp_path: Path) -> None:
    run_job(start(tmp_path), lambda row: row, take)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("shard-*")}
    start(tmp_path, 7)
    job = start(tmp_path, 8, 9, 10, 11)
    assert (job.counts, job.count, job.done()) == ((7, 1, 4), 12, 7)
    assert [list(span) for span in job.spans] == [[0, 1, 2], [3, 4, 5], [6], [7], [8, 9, 10], [11]]
    assert [rows for _, rows in job.rows([2, 4])] == [[{"number": 6}], [{"number": n} for n in (8, 9, 10)]]
    assert [item["number"] for item in job.items()] == list(range(12))
    for rank in range(size):
        run_job(start(tmp_path), lambda row: row, take, Alone(rank, size))
    assert [(item["number"], record["root"]) for item, record in job.pairs()] == [(n, n**0.5) for n in range(12)]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert len(before) == 3 and job.missing() == []
    job.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize("size", [1, 2])
def test_failed_records_are_computed_again(size: int, tmp_path: Path) -> None:
    job, tried = start(tmp_path), []
    run_job(job, lambda row: row, fail_odd)

    def again(batch: list[Row], loaded: list[Any]) -> list[Row]:
        tried.append([row["number"] for row in batch])
        return take(batch, loaded)

    for rank in range(size):
        retry_failed(job, lambda record: "error" in record, lambda row: row, again, Alone(rank, size))
    assert tried == [[1], [3, 5]]
    assert [("root" in record, record["number"]) for record in job.records()] == [(n % 2 == 1, n) for n in range(7)]


def test_an_interrupted_retry_keeps_what_was_mended_and_what_was_there(tmp_path: Path) -> None:
    job, tried = start(tmp_path), []
    run_job(job, lambda row: row, lambda batch, _: [{"error": "all"} for _ in batch])

    def again(batch: list[Row], loaded: list[Any]) -> list[Row]:
        tried.append(batch)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return take(batch, loaded)

    with pytest.raises(KeyboardInterrupt):
        retry_failed(job, lambda record: "error" in record, lambda row: row, again)
    assert ["root" in record for record in job.records()] == [True, True, *[False] * 5]

"""What is kept of a shard that was begun: whole batches, whatever ended the run and wherever."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.jobs.job import Job, Row
from iaa_runtime.jobs.process_group import ProcessGroup
from iaa_runtime.jobs.run import run_job
from iaa_runtime.jobs.start import open_job

COUNT, SHARD, BATCH = 100, 12, 5


def start(folder: Path) -> Job:
    rows = [{"number": number} for number in range(COUNT)]
    return open_job(folder, {"model": "m"}, lambda: rows, SHARD, BATCH, is_record=lambda row: "root" in row)[0]


def compute(job: Job, worked: Counter[int], batches: int | None = None, rank: int = 0, size: int = 1) -> None:
    """Takes roots; interrupted in the batch after so many. A process of a group does not wait for the others."""

    class Alone(ProcessGroup):
        def barrier(self) -> None: ...

    def work(batch: list[Row], _: list[Any]) -> list[Row]:
        nonlocal batches
        worked.update(row["number"] for row in batch)
        if batches == 0:
            raise KeyboardInterrupt
        batches = batches and batches - 1
        return [row | {"root": row["number"] ** 0.5, "said": "“é”\u2028"} for row in batch]

    run_job(job, lambda row: row, work, Alone(rank, size))


@pytest.fixture
def unbroken(tmp_path: Path) -> dict[str, bytes]:
    """The content of each file of a job that ran from start to end."""
    compute(start(tmp_path / "unbroken"), Counter())
    return contents(tmp_path / "unbroken")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", range(3))
def test_twenty_interruptions_cost_a_batch_each(seed: int, unbroken: dict[str, bytes], tmp_path: Path) -> None:
    draw, worked = random.Random(seed), Counter[int]()
    for _ in range(20):
        job = start(tmp_path / "job")
        before, done = Counter(worked), job.done()
        with pytest.raises(KeyboardInterrupt):
            compute(job, worked, draw.randrange(3) if job.count - done > 3 * BATCH else 0)
        again = worked - before
        assert max(again.values()) == 1 and job.done() - done >= sum(again.values()) - BATCH
    assert 0 < job.done() < COUNT
    compute(start(tmp_path / "job"), worked)
    assert sum(worked.values()) - COUNT <= 20 * BATCH
    assert contents(tmp_path / "job") == unbroken


def test_a_torn_line_costs_its_batch(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    """As a kill leaves it that meets the program while it writes, or a disk that is full."""
    job = start(tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        compute(job, Counter(), 2)
    whole = job.begun(0).read_bytes()
    for cut in range(1, len(whole), 7):
        job.begun(0).write_bytes(whole[:-cut])
        assert len(job.kept(0)) in ([2 * BATCH] if cut == 1 else [0, BATCH])  # a lone line end is no loss
        compute(start(tmp_path / "job"), Counter())
        assert contents(tmp_path / "job") == unbroken
        job.shard(0).unlink()


def test_two_runs_at_once_mix_nothing(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    """Both add to what is kept of a shard; each item's first record stands."""
    job, worked = start(tmp_path / "job"), Counter[int]()
    with pytest.raises(KeyboardInterrupt):
        compute(job, worked, 2)
    twice = job.begun(0).read_bytes()
    job.begun(0).write_bytes(twice[: len(twice) // 2] + twice)
    assert job.done() == 2 * BATCH
    compute(start(tmp_path / "job"), worked)
    assert contents(tmp_path / "job") == unbroken


@pytest.mark.parametrize("line", [b"[" * 5000, b"\xff", b"7", b'{"item": 0}', b'{"item": 0, "record": {"number": 0}}'])
def test_lines_that_are_no_records_are_passed_over(line: bytes, tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    job.begun(0).write_bytes(line + b"\n")
    assert job.done() == 0
    compute(job, Counter())
    assert job.done() == COUNT


def test_several_processes_keep_their_own(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    job, worked = start(tmp_path / "job"), Counter[int]()
    for rank in range(3):
        with pytest.raises(KeyboardInterrupt):
            compute(job, worked, 4, rank, 3)
    assert job.done() == 3 * 4 * BATCH - 3 * 3  # the third batch of a shard has two items
    for rank in range(2):  # fewer go on
        compute(start(tmp_path / "job"), worked, rank=rank, size=2)
    assert sum(worked.values()) <= COUNT + 3 * BATCH
    compute(start(tmp_path / "job"), worked)
    assert contents(tmp_path / "job") == unbroken


def test_a_kill_between_a_finished_shard_and_its_tidying_leaves_nothing(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        compute(job, Counter(), 1)
    kept = job.begun(0).read_bytes()
    compute(start(tmp_path / "job"), Counter())
    job.begun(0).write_bytes(kept)
    mine = job.folder / "begun-000777.jsonl"  # of no shard
    mine.write_text("mine")
    assert job.done() == COUNT
    compute(start(tmp_path / "job"), Counter())
    assert not job.begun(0).exists() and mine.exists()


def test_a_folder_in_the_place_is_left_alone(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    job.begun(0).mkdir()
    with pytest.raises(InputError, match=r"begun-000000\.jsonl is a folder"):
        compute(job, Counter())
    assert job.begun(0).is_dir()


def test_a_job_that_is_removed_leaves_nothing(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        compute(job, Counter(), 4)
    job.remove()
    assert not job.folder.exists()

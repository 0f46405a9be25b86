"""Jobs on disk: started once, taken up again, spread over processes, and never mixed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.errors import IAAError, InputError
from iaa_runtime.jobs.job import Job, Row
from iaa_runtime.jobs.process_group import ProcessGroup
from iaa_runtime.jobs.run import run_job
from iaa_runtime.jobs.start import open_job

COUNT = 23


def rows() -> Iterator[Row]:
    return ({"number": number} for number in range(COUNT))


def start(folder: Path, group: ProcessGroup | None = None, **settings: Any) -> Job:
    return open_job(folder, {"model": "m"} | settings, rows, 5, 2, group=group)[0]


def compute(job: Job, index: int = 0, size: int = 1, stop_before: int | None = None) -> None:
    """Squares numbers; a process of a group that does not wait for the others, as if they were gone."""

    class Alone(ProcessGroup):
        def barrier(self) -> None: ...

    def work(batch: list[Row], loaded: list[Any]) -> list[Row]:
        assert loaded == [f"n{row['number']}" for row in batch]
        if stop_before is not None and any(row["number"] >= stop_before for row in batch):
            raise KeyboardInterrupt
        return [{"number": row["number"], "square": row["number"] ** 2} for row in batch]

    run_job(job, lambda row: f"n{row['number']}", work, Alone(index, size))


def test_every_item_is_recorded_once_in_order(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    assert (job.count, job.shards, job.done()) == (COUNT, 5, 0)
    compute(job)
    assert list(job.records()) == [{"number": n, "square": n * n} for n in range(COUNT)]
    assert [(item["number"], record["square"]) for item, record in job.pairs()] == [(n, n * n) for n in range(COUNT)]
    assert job.done() == COUNT
    assert sorted(path.name for path in job.folder.iterdir())[:2] == ["items.jsonl", "manifest.json"]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_any_number_of_processes_writes_the_same_files(size: int, tmp_path: Path) -> None:
    compute(start(tmp_path / "one"))
    job = start(tmp_path / "many")
    for index in reversed(range(size)):
        compute(job, index, size)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()


def test_a_job_goes_on_where_it_was_left(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        compute(job, stop_before=12)
    assert [job.shard(number).exists() for number in range(5)] == [True, True, False, False, False]
    assert job.done() == 12
    first = job.shard(0).stat().st_mtime_ns
    with pytest.raises(IAAError, match=r"3 of 5 shards are missing .* shard-000002\.jsonl"):
        list(job.records())
    # A different number of processes may go on.
    compute(start(tmp_path / "job"), 1, 2)
    assert job.done() == 17
    compute(start(tmp_path / "job"), 0, 2)
    assert [record["number"] for record in job.records()] == list(range(COUNT))
    assert job.shard(0).stat().st_mtime_ns == first


def test_done_counts_the_short_last_shard(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    compute(job, 4, 5)
    assert job.done() == 3


def test_the_list_is_that_of_the_first_start(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    again, resumed = open_job(tmp_path / "job", {"model": "m"}, lambda: pytest.fail("listed again"), 5, 2)
    assert resumed
    assert again.count == job.count


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"model": "other"}, 5, 'model is "m" there and "other" now'),
        ({"model": "m", "new": 1}, 5, "new is null there and 1 now"),
        ({"model": "m"}, 6, "shard_size is 5 there and 6 now"),
    ],
)
def test_settings_are_never_mixed(settings: Row, size: int, message: str, tmp_path: Path) -> None:
    start(tmp_path / "job")
    with pytest.raises(InputError, match=message):
        open_job(tmp_path / "job", settings, rows, size, 2)


def test_a_start_that_was_cut_short_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / ".items.jsonl.77.part").write_text('{"num')
    job = start(folder)
    compute(job)
    assert job.done() == COUNT
    assert not list(folder.glob(".*.part"))


def test_a_list_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """It has the name of ours, but there is no manifest beside it."""
    (tmp_path / "items.jsonl").write_text("mine")
    with pytest.raises(InputError, match=r"no job of ours \(items\.jsonl\)"):
        start(tmp_path)
    assert (tmp_path / "items.jsonl").read_text() == "mine"


def test_an_empty_list_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to do"):
        open_job(tmp_path / "job", {}, lambda: [], 2, 2)
    assert list((tmp_path / "job").iterdir()) == []


def test_only_our_own_files_are_removed(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    mine = tmp_path / "job" / ".thesis.part"
    mine.write_text("mine")
    compute(job)
    job.remove()
    assert list(job.folder.iterdir()) == [mine]
    mine.unlink()
    again = start(tmp_path / "job")
    compute(again)
    again.remove()
    assert not again.folder.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something, and no job of ours \(thesis\.txt\)"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is nothing to do"):
        open_job(tmp_path / "job", {}, lambda: [], 5, 2)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"version": 99, "count": 3, "settings": {}}',
        '{"version": 1}',
        '{"version": 1, "count": 0, "settings": {"a": 1}}',
        '{"version": 1, "count": 1, "settings": 3}',
    ],
)
def test_a_damaged_manifest_is_named(content: str, tmp_path: Path) -> None:
    start(tmp_path / "job")
    (tmp_path / "job" / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        start(tmp_path / "job")


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("")
    with pytest.raises(InputError, match="job cannot be used"):
        start(tmp_path / "job")


def test_what_loading_raises_stops_the_job_and_keeps_what_is_done(tmp_path: Path) -> None:
    job = start(tmp_path / "job")

    def load(row: Row) -> int:
        if row["number"] == 7:
            raise InputError("the disk is gone")
        return 0

    with pytest.raises(InputError, match="the disk is gone"):
        run_job(job, load, lambda batch, loaded: list(batch))
    assert job.done() == 7


def test_only_a_few_items_are_loaded_ahead(tmp_path: Path) -> None:
    job = open_job(tmp_path / "job", {}, lambda: ({"number": n} for n in range(100)), 10, 4)[0]
    loaded, worked, most = [], [], 0

    def load(row: Row) -> int:
        loaded.append(row["number"])
        return 0

    def work(batch: list[Row], _: list[Any]) -> list[Row]:
        nonlocal most
        most = max(most, len(loaded) - len(worked))
        worked.extend(batch)
        return batch

    run_job(job, load, work)
    assert len(worked) == 100
    assert most <= 8  # this batch and the next


def test_each_batch_starts_afresh(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    seen: list[str] = []
    run_job(
        job,
        lambda row: row,
        lambda batch, _: seen.append(str(batch[0]["number"])) or batch,
        on_batch=lambda: seen.append("new"),
    )
    assert " ".join(seen) == " ".join(f"new {n}" for n in (0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19, 20, 22))


def test_manifest_and_list_are_plain_json(tmp_path: Path) -> None:
    job = start(tmp_path / "job", phrases=("a", "b"))
    manifest = json.loads((job.folder / "manifest.json").read_text())
    assert manifest == {
        "version": 1,
        "count": COUNT,
        "list": hashlib.sha256((job.folder / "items.jsonl").read_bytes()).hexdigest(),
        "settings": {"model": "m", "phrases": ["a", "b"], "shard_size": 5, "batch": 2, "format": "jsonl"},
    }
    start(tmp_path / "job", phrases=["a", "b"])  # a tuple and a list are the same JSON


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        cut,
        lambda content: content.partition(b"\n")[2],
        lambda content: content + b'{"number": 99}\n',
        lambda content: content.replace(b"{", b"\x00", 1),
        lambda content: b"\n" * len(content),
        lambda content: re.sub(rb"{.*}", b"{}", content, count=1),
    ],
    ids=["emptied", "cut", "a record gone", "a record too many", "damaged", "blank", "no record"],
)
@pytest.mark.parametrize("number", [1, 4])
def test_a_damaged_shard_is_made_anew(
    harm: Callable[[bytes], bytes], number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = start(tmp_path / "job")
    compute(job)
    whole = {path.name: path.read_bytes() for path in job.folder.iterdir()}
    job.shard(number).write_bytes(harm(job.shard(number).read_bytes()))
    again = start(tmp_path / "job")
    assert again.missing() == [number]
    assert f"shard-00000{number}.jsonl does not hold its" in caplog.text
    compute(again)
    assert {path.name: path.read_bytes() for path in job.folder.iterdir()} == whole
    assert list(start(tmp_path / "job").records()) == [{"number": n, "square": n * n} for n in range(COUNT)]


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        cut,
        lambda content: content + b'{"number": 99}\n',
        lambda content: content.replace(b"\n", b"\n\n", 1),
        lambda content: content.replace(b"number", b"member", 1),
    ],
    ids=["emptied", "cut", "an item more", "a blank line", "changed"],
)
def test_a_damaged_list_is_named(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    compute(job)
    items = job.folder / "items.jsonl"
    items.write_bytes(harm(items.read_bytes()))
    with pytest.raises(InputError, match=r"items\.jsonl does not hold the 23 items"):
        start(tmp_path / "job")
    assert job.missing() == []


def test_a_folder_in_a_shard_s_place_is_left_alone(tmp_path: Path) -> None:
    job = start(tmp_path / "job")
    job.shard(2).mkdir()
    with pytest.raises(InputError, match=r"shard-000002\.jsonl is a folder"):
        start(tmp_path / "job")
    assert job.shard(2).is_dir()

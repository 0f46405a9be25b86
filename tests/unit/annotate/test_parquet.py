"""Parquet lists and shards, where pyarrow is installed; and what is said where it is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from iaa_runtime.annotate import list_images
from iaa_runtime.annotate.parquet import Parquet
from iaa_runtime.errors import InputError
from iaa_runtime.jobs.run import run_job
from iaa_runtime.jobs.start import open_job


def test_its_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="Parquet needs pyarrow, which is not installed"):
        Parquet()
    (tmp_path / "list.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="Parquet needs pyarrow"):
        list(list_images([str(tmp_path / "list.parquet")]))


RECORDS = [
    {
        "image": "a.jpg",
        "id": "7",
        "width": 40,
        "height": 30,
        "caption": "猫",
        "phrases": ["cat", "猫"],
        "detections": [{"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat", "score": 0.1234}],
    },
    {"image": "b.jpg", "width": 40, "height": 30, "phrases": [], "detections": []},
    {"image": "c.jpg", "error": "broken"},
]


def test_shards_come_back_as_written(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shards = Parquet()
    shards.write(tmp_path / "a.parquet", RECORDS)
    assert list(shards.read(tmp_path / "a.parquet")) == RECORDS
    shards.write(tmp_path / "b.parquet", RECORDS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_every_shard_has_the_same_schema(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for number, record in enumerate(RECORDS):
        Parquet().write(tmp_path / f"{number}.parquet", [record])
    schemas = [parquet.read_schema(tmp_path / f"{number}.parquet") for number in range(len(RECORDS))]
    assert schemas[0] == schemas[1] == schemas[2]
    assert parquet.read_table(tmp_path).num_rows == 3  # as one data set


def test_names_that_are_no_unicode_are_spelled_out(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    Parquet().write(tmp_path / "a.parquet", [{"image": os.fsdecode(b"caf\xe9.jpg"), "error": "x"}])
    (record,) = Parquet().read(tmp_path / "a.parquet")
    assert record["image"].startswith("caf\\u")


def test_lists_are_read_a_piece_at_a_time(photos: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    count = 3000
    table = pa.table(
        {
            "other": list(range(count)),
            "id": list(range(count)),
            "image": [f"{number}.png" for number in range(count)],
            "phrases": [["a cat"] if number % 2 else None for number in range(count)],
        }
    )
    parquet.write_table(table, photos / "list.parquet")
    rows = list(list_images([str(photos / "list.parquet")]))
    assert len(rows) == count
    assert rows[2999] == {
        "image": "2999.png",
        "path": str(photos / "2999.png"),
        "phrases": ["a cat"],
        "id": "2999",
    }
    assert "phrases" not in rows[2998]
    with pytest.raises(InputError, match=r"'picture' is None.* other, id, image, phrases"):
        list(list_images([str(photos / "list.parquet")], column="picture"))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "list.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"list\.parquet cannot be read as parquet"):
        list(list_images([str(tmp_path / "list.parquet")]))


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_cut_shard_is_made_anew(keep: float, tmp_path: Path) -> None:
    rows = [{"image": f"{number}.png"} for number in range(4)]
    job, _ = open_job(tmp_path / "job", {}, lambda: rows, 2, 2, Parquet())
    run_job(job, lambda row: None, lambda batch, _: list(batch))
    whole = job.shard(1).read_bytes()
    job.shard(1).write_bytes(whole[: int(len(whole) * keep)])
    again, _ = open_job(tmp_path / "job", {}, lambda: rows, 2, 2, Parquet())
    assert again.missing() == [1]
    run_job(again, lambda row: None, lambda batch, _: list(batch))
    assert list(again.records()) == rows


BOMBS = {
    "a long text in each row": ({"image": ["x" * 1_000_000] * 200}, {}, "unpacks to 200001600 bytes in 200 rows"),
    "long phrases": ({"image": [str(n) for n in range(900)], "phrases": [["y" * 1000] * 100] * 900}, {}, "unpacks to"),
    "long texts in parts": ({"image": [{"path": "x" * 1_000_000}] * 200}, {}, "unpacks to 2000"),
    "many rows": ({"image": ["a.jpg"] * 3_000_000}, {}, "promises columns of 3000000 values"),
    "many phrases": ({"image": ["a.jpg"], "phrases": [["cat"] * 1_000_000]}, {}, "promises columns of 1000000 values"),
    "one long text": ({"image": ["x" * 100_000_000]}, {"use_dictionary": False}, "and 10000.* bytes"),
}


@pytest.mark.parametrize(("columns", "packing", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_list_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], packing: dict[str, bool], reason: str
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "list.parquet"
    parquet.write_table(pyarrow.table(columns), path, compression="zstd", **packing)
    assert path.stat().st_size < 30_000
    with pytest.raises(InputError, match=reason):
        list(list_images([str(path)]))


def test_a_long_list_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = [f"folder/{n:06}.jpg" for n in range(20_000)]
    columns = {"image": names, "phrases": [["a cat", "a dog"]] * len(names), "id": list(range(len(names)))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet", compression="zstd")
    rows = list(list_images([str(tmp_path / "list.parquet")]))
    assert [row["image"] for row in rows] == names
    assert rows[-1]["phrases"] == ["a cat", "a dog"] and rows[-1]["id"] == "19999"

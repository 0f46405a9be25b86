"""``iaa annotate`` in one process."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.cli import main
from iaa_runtime.errors import InputError
from iaa_runtime.export.convert import convert


@pytest.fixture
def annotate(tiny: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command on the photos; returns the exit code, the JSON line (if any) and stderr."""

    def run(*more: str, source: tuple[str, ...] = ()) -> tuple[int, dict[str, Any] | None, str]:
        words = [*(source or (str(photos),)), "--out", str(tmp_path / "out"), "--model", str(tiny)]
        code = main(["annotate", *words, "--max-new-tokens", "24", "--json", *more])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run


def records(tmp_path: Path) -> list[dict[str, Any]]:
    shards = sorted((tmp_path / "out").glob("shard-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text(encoding="utf-8").splitlines()]


def test_captions_boxes_and_all_exports(annotate: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"")
    coco = tmp_path / "coco.json"
    code, summary, err = annotate(
        "--caption", "--phrase", "cat", "--shard-size", "2", "--coco", str(coco), "--sidecars"
    )
    made = records(tmp_path)
    boxes = sum(len(record.get("detections", ())) for record in made)
    assert code == 0
    assert summary == {
        "out": str(tmp_path / "out"),
        "images": 4,
        "failed": 1,
        "boxes": boxes,
        "shards": 2,
        "coco": str(coco),
        "coco_captions": str(tmp_path / "coco-captions.json"),
        "sidecars": 3,
    }
    assert [Path(record["image"]).name for record in made] == ["a.png", "b.jpg", "broken.png", "c.webp"]
    assert "4 of 4 images (4 now" in err
    assert "broken.png is not an image" in err
    assert (photos / "a.txt").read_text(encoding="utf-8") == made[0]["caption"] + "\n"
    assert len(json.loads(coco.read_text())["annotations"]) == boxes
    assert len(json.loads((tmp_path / "coco-captions.json").read_text())["annotations"]) == 3


def test_a_finished_job_only_exports(annotate: Any, tmp_path: Path) -> None:
    assert annotate("--caption")[0] == 0
    code, summary, err = annotate("--caption", "--coco", str(tmp_path / "later.json"))
    assert code == 0
    assert summary["coco_captions"] == str(tmp_path / "later.json")
    assert "3 of 3 images are there" in err
    assert "(0 now" in err


def test_where_records_come_from_lies_beside_them_and_on_the_page(annotate: Any, photos: Path, tmp_path: Path) -> None:
    words = ["--phrase", "cat", "--page", str(tmp_path / "look.html")]
    assert annotate(*words)[0] == 0
    about = tmp_path / "out.about.json"
    record, before = json.loads(about.read_text(encoding="utf-8")), about.read_bytes()
    assert record["model"] and record["count"] == 3 and record["settings"]["phrases"] == ["cat"]
    page = (tmp_path / "look.html").read_text(encoding="utf-8")
    assert "Where this comes from" in page and record["model"] in page and record["date"] in page
    assert annotate(*words)[0] == 0, "the page is the same, so it is no conflict"
    assert about.read_bytes() == before
    (photos / "d.png").write_bytes((photos / "a.png").read_bytes())
    assert annotate("--phrase", "cat", "--update")[0] == 0
    assert json.loads(about.read_text(encoding="utf-8"))["count"] == 4


def test_no_export_goes_where_the_record_does(annotate: Any, tmp_path: Path) -> None:
    code, _, err = annotate("--caption", "--coco", str(tmp_path / "out.about.json"))
    assert code == 2 and "--coco would write" in err
    assert not (tmp_path / "out").exists()


def test_what_lies_where_the_record_goes_stays(annotate: Any, tmp_path: Path) -> None:
    about = tmp_path / "out.about.json"
    about.write_text("mine")
    code, _, err = annotate("--caption")
    assert code == 1 and "out.about.json is there already" in err
    assert about.read_text() == "mine" and not (tmp_path / "out").exists()


def test_other_settings_are_refused(annotate: Any) -> None:
    assert annotate("--caption")[0] == 0
    for change in (["--prompt", "What?"], ["--caption", "--phrase", "cat"], ["--caption", "--max-new-tokens", "3"]):
        code, _, err = annotate(*change)
        assert code == 1
        assert "holds a job with other settings" in err


def test_a_job_goes_on_with_another_batch(annotate: Any, tmp_path: Path) -> None:
    """What a user is told to do whose memory was not enough."""
    assert annotate("--caption", "--shard-size", "2", "--batch", "2")[0] == 0
    before = records(tmp_path)
    (tmp_path / "out" / "shard-000000.jsonl").unlink()
    assert annotate("--caption", "--shard-size", "2", "--batch", "1")[0] == 0
    assert records(tmp_path) == before


def test_a_repaired_picture_is_not_tried_before_it_is_clear_that_its_export_may_change(
    annotate: Any, photos: Path, tmp_path: Path
) -> None:
    coco = ["--coco", str(tmp_path / "coco.json")]
    (photos / "broken.png").write_bytes(b"")
    assert annotate("--caption", *coco)[0] == 0
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes())
    code, _, err = annotate("--caption", "--retry-failed", *coco)
    assert code in (1, 2) and "coco.json is there already" in err
    assert sum("error" in record for record in records(tmp_path)) == 1, "nothing was computed"
    assert annotate("--caption", "--retry-failed", "--overwrite", *coco)[0] == 0
    assert not any("error" in record for record in records(tmp_path))


def test_out_may_be_the_folder_that_one_is_in(annotate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    assert annotate("--caption", "--out", ".")[0] == 0
    assert list((tmp_path / "job").glob("shard-*.jsonl")) and (tmp_path / "job.about.json").is_file()
    code, _, err = annotate("--caption", "--out", os.path.abspath(os.sep))
    assert code in (1, 2) and "did not expect" not in err


@pytest.mark.parametrize("wrong", [["--phrase", "cat", "--max-new-tokens", "2"], ["--prompt", "very " * 700]])
def test_refused_settings_leave_no_job_behind(annotate: Any, wrong: list[str]) -> None:
    assert annotate(*wrong)[0] == 1
    assert annotate("--caption")[0] == 0


def test_a_task_that_nobody_has_leaves_no_job_behind(annotate: Any, tiny: Path, tmp_path: Path) -> None:
    convert(Checkpoint(tiny), "int8", tmp_path / "g", ["G"])
    code, _, err = annotate("--caption", "--model", f"{tmp_path}/g")
    assert code == 1 and "holds no bank 'mm'" in err
    assert annotate("--caption")[0] == 0


def test_twins_are_told_of_before_the_work(annotate: Any, photos: Path) -> None:
    (photos / "a.jpg").write_bytes((photos / "b.jpg").read_bytes())
    code, summary, err = annotate("--caption", "--sidecars", "--prefix", "ohwx, ", "--existing", "skip")
    assert code == 0 and summary["sidecars"] == 4
    assert err.index("2 pictures differ from another in nothing but their ending") < err.index("images (")
    assert (photos / "a.png.txt").read_text(encoding="utf-8").startswith("ohwx, ")


def test_a_text_that_cannot_be_written_is_told_of(annotate: Any, photos: Path) -> None:
    (photos / "a.txt").mkdir()
    code, summary, err = annotate("--caption", "--sidecars")
    assert code == 0 and (summary["sidecars"], summary["sidecars_failed"]) == (2, 1)
    assert "a.txt is a folder" in err


def test_what_could_be_written_for_no_picture_is_a_failure(annotate: Any, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"")
    texts = [photos / name for name in ("a.txt", "b.txt", "sub/c.txt")]
    for text in texts:
        text.mkdir()
    code, summary, err = annotate("--caption", "--sidecars")
    assert code == 1 and (summary["sidecars"], summary["sidecars_failed"]) == (0, 3)
    assert "a.txt is a folder" in err
    texts[0].rmdir()
    assert annotate("--caption", "--sidecars")[0] == 0


@pytest.mark.parametrize(
    "error", [InputError("No room."), OSError(errno.ENOSPC, "No space left on device", "coco.json")]
)
def test_an_export_that_fails_leaves_the_others(
    annotate: Any, photos: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind it were not written, and there was no summary."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    coco, page, text = tmp_path / "coco.json", tmp_path / "look.html", photos / "a.txt"
    words = ["--caption", "--phrase", "cat", "--coco", str(coco), "--page", str(page), "--sidecars"]
    with monkeypatch.context() as broken:
        broken.setattr("iaa_runtime.cli.annotate.exports.write_coco_boxes", fails)
        code, summary, err = annotate(*words)
    assert code == 1 and "coco" not in summary and summary["coco_captions"] and summary["page"] == str(page)
    assert page.exists() and text.exists() and not coco.exists()
    told = "No room." if isinstance(error, InputError) else "coco.json: No space left on device"
    assert f"iaa annotate: --coco was not written. {told}" in err.splitlines()[-1]
    code, summary, _ = annotate(*words)
    assert code == 0 and coco.exists()


def test_a_list_with_phrases(annotate: Any, photos: Path, tmp_path: Path) -> None:
    rows = [{"image": "a.png", "phrases": ["cat", "dog"], "id": "x"}, {"image": "sub/c.webp"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = (str(tmp_path / "list.jsonl"),)
    assert annotate("--boxes", "--one", "--images", str(photos), source=source)[0] == 0
    made = records(tmp_path)
    assert [record.get("id") for record in made] == ["x", None]
    assert [[d["label"] for d in record["detections"]] for record in made] == [["cat", "dog"], []]


def test_parquet_shards_hold_the_same(annotate: Any, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (photos / "broken.png").write_bytes(b"")
    assert annotate("--caption", "--phrase", "cat")[0] == 0
    expected = records(tmp_path)
    (tmp_path / "out").rename(tmp_path / "jsonl")
    assert annotate("--caption", "--phrase", "cat", "--format", "parquet")[0] == 0
    rows = parquet.read_table(tmp_path / "out" / "shard-000000.parquet").to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "There is nothing to do: ask for captions"),
        (["--phrase", "cat", "--sidecars"], "--sidecars has no effect without --caption"),
        (["--caption", "--prefix", "x"], "--prefix has no effect without --sidecars"),
        (["--caption", "--shard-size", "0"], "--shard-size: 0 is not from 1 to"),
        (["--caption", "--batch", "0"], "--batch: 0 is not from 1 to"),
    ],
)
def test_arguments_that_make_no_sense(
    annotate: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code, summary, err = annotate(*words)
    except SystemExit as stop:
        code, summary, err = stop.code, None, capsys.readouterr().err
    assert (code, summary) == (2, None)
    assert message in err

"""``iaa annotate`` run again where pictures came, went or were repaired."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.annotate.sources import PassedOver, list_images
from iaa_runtime.cli import main

Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def run(
    pipeline: IAAPipeline,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Captions the photos in shards of two, by a model that is open already; returns the JSON line and stderr."""
    monkeypatch.setattr("iaa_runtime.cli.annotate.open_pipeline", lambda options, *tasks: pipeline)

    def annotate(*more: str, source: str = str(photos), code: int = 0) -> tuple[dict[str, Any], str]:
        words = ["annotate", source, "--out", str(tmp_path / "out"), "--caption", "--shard-size", "2"]
        assert main([*words, "--max-new-tokens", "4", "--batch", "1", "--json", *more]) == code
        out, err = capsys.readouterr()
        return json.loads(out or "{}"), err

    return annotate


def records(tmp_path: Path) -> list[dict[str, Any]]:
    lines = [line for shard in sorted((tmp_path / "out").glob("shard-*.jsonl")) for line in shard.open()]
    return [json.loads(line) for line in lines]


def names(tmp_path: Path) -> list[str]:
    return [Path(record["image"]).name for record in records(tmp_path)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_new_pictures_are_told_of_and_taken_in_when_asked(run: Run, photos: Path, tmp_path: Path) -> None:
    coco = ["--coco", str(tmp_path / "coco.json")]
    run(*coco)
    before = contents(tmp_path / "out")
    for name in ("0.png", "sub/b.png", "z.png"):
        Image.new("RGB", (30, 20), "white").save(photos / name)
    (photos / "b.jpg").unlink()

    summary, err = run()
    assert "New since the job began: 3 images; --update takes them in." in err
    assert "No longer there: 1 of the job's 3 images." in err
    assert summary["images"] == 3 and contents(tmp_path / "out") == before
    assert run("--dry-run")[0]["images"] == 3 and run("--dry-run", "--update")[0]["images"] == 6
    assert contents(tmp_path / "out") == before

    # What is there would lack the new ones: told before the work, not after it.
    _, err = run("--update", *coco, code=1)
    assert "coco.json is there already" in err and names(tmp_path) == ["a.png", "b.jpg", "c.webp"]
    summary, err = run("--update", *coco, "--overwrite")
    assert "Going on" in err and "3 of 6 images are there" in err
    assert names(tmp_path) == ["a.png", "b.jpg", "c.webp", "0.png", "b.png", "z.png"]
    assert (summary["images"], summary["shards"]) == (6, 4)
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: content for name, content in before.items() if name != "manifest.json"
    }
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 6

    _, err = run("--update")
    assert "New since" not in err and contents(tmp_path / "out") == after
    Image.new("RGB", (30, 20), "white").save(photos / "last.png")
    assert run("--update")[0]["images"] == 7
    assert names(tmp_path)[-1] == "last.png"


def test_an_update_that_was_cut_short_is_made_anew(run: Run, photos: Path, tmp_path: Path) -> None:
    run()
    Image.new("RGB", (30, 20), "white").save(photos / "new.png")
    (tmp_path / "out" / "items-000001.jsonl").write_text('{"image": "oth')  # and the manifest does not name it
    assert run("--update")[0]["images"] == 4
    items = tmp_path / "out" / "items-000001.jsonl"
    items.write_text(items.read_text().replace("new", "old"))
    assert "items-000001.jsonl does not hold the 1 items" in run(code=1)[1]


def test_an_unfinished_job_takes_in_more(run: Run, photos: Path, tmp_path: Path) -> None:
    run()
    (tmp_path / "out" / "shard-000000.jsonl").unlink()
    Image.new("RGB", (30, 20), "white").save(photos / "0.png")
    run("--update")
    assert names(tmp_path) == ["a.png", "b.jpg", "c.webp", "0.png"]


def test_what_a_finished_job_wrote_is_no_hindrance_to_a_shard_that_is_made_anew(run: Run, tmp_path: Path) -> None:
    words = ["--coco", str(tmp_path / "coco.json"), "--page", str(tmp_path / "look.html")]
    run(*words)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-000000.jsonl").unlink()
    time.sleep(1.1)  # the page tells the second in which the job was done
    run(*words)
    assert contents(tmp_path / "out") == before


def test_sources_that_are_gone_are_told_of(run: Run, photos: Path, tmp_path: Path) -> None:
    run()
    photos.rename(tmp_path / "moved")
    summary, err = run()
    assert "New images could not be looked for: There is nothing at" in err and summary["images"] == 3
    assert "There is nothing at" in run("--update", code=1)[1]


def test_a_list_on_stdin_is_read_again_for_an_update_only(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def type_in(*listed: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO("\n".join(listed).encode()))))

    here = ["--images", str(photos)]
    type_in("a.png")
    run(*here, source="-")
    type_in("a.png", "b.jpg")
    assert run(*here, source="-")[0]["images"] == 1
    assert "New since the job began: 1 images" in run(*here, "--update", source="-")[1]
    assert names(tmp_path) == ["a.png", "b.jpg"]


def test_known_rows_are_told_from_new_ones_by_phrases_and_id(tmp_path: Path, photos: Path) -> None:
    def listed(*rows: dict[str, Any], known: Any = ()) -> tuple[list[Any], PassedOver]:
        (photos / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        passed = PassedOver()
        found = list(list_images([str(photos / "list.jsonl")], passed_over=passed, known=known))
        return found, passed

    first, second = {"image": "a.png", "id": "1"}, {"image": "a.png", "id": "2"}
    plain, asked = {"image": "a.png"}, {"image": "a.png", "phrases": ["x"]}
    known, passed = listed(first, plain, first)
    assert [row.get("id") for row in known] == ["1", None] and passed["given before"] == 1
    found, passed = listed(first, first, second, asked, known=known)
    assert [(row.get("id"), row.get("phrases")) for row in found] == [("2", None), (None, ["x"])]
    assert (passed["given before"], passed.gone) == (1, 1)


def test_repaired_pictures_are_tried_again_when_asked(run: Run, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(b"broken")
    (photos / "sub" / "c.webp").write_bytes(b"broken")
    summary, err = run()
    assert (
        summary["failed"] == 2
        and "Failed: 2 of 3 images. Once repaired, they are tried again with --retry-failed." in err
    )
    (photos / "b.jpg").write_bytes(whole)
    assert run()[0]["failed"] == 2
    first = records(tmp_path)[0]
    summary, err = run("--retry-failed")
    assert summary["failed"] == 1 and "2 of 2 failed ones (2 now" in err and "Failed: 1 of 3 images." in err
    assert names(tmp_path) == ["a.png", "b.jpg", "c.webp"] and records(tmp_path)[0] == first
    assert [sorted(record) for record in records(tmp_path)[1:]] == [
        ["caption", "height", "image", "width"],
        ["error", "image"],
    ]
    assert run()[0]["failed"] == 1


def test_what_is_missing_is_computed_before_what_failed_is_tried_again(run: Run, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(b"broken")
    coco = ["--coco", str(tmp_path / "coco.json")]
    run(*coco)
    (photos / "b.jpg").write_bytes(whole)
    (tmp_path / "out" / "shard-000001.jsonl").unlink()
    assert "coco.json is there already" in run("--retry-failed", *coco, code=1)[1]
    assert run("--retry-failed", *coco, "--overwrite")[0]["failed"] == 0
    assert names(tmp_path) == ["a.png", "b.jpg", "c.webp"]

    (photos / "b.jpg").write_bytes(b"broken")
    (tmp_path / "out" / "shard-000000.jsonl").unlink()
    assert run()[0]["failed"] == 1
    (photos / "b.jpg").write_bytes(whole)
    Image.new("RGB", (30, 20), "white").save(photos / "new.png")
    summary, _ = run("--update", "--retry-failed")
    assert (summary["images"], summary["failed"]) == (4, 0) and names(tmp_path)[-1] == "new.png"


def test_a_repaired_picture_of_a_shard_that_is_begun_may_change_its_export(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "a.png").write_bytes(b"broken")
    run()
    shard = tmp_path / "out" / "shard-000000.jsonl"
    line = json.dumps({"item": 0, "record": json.loads(shard.read_text().splitlines()[0])})
    (tmp_path / "out" / "begun-000000.jsonl").write_text(line + "\n")
    shard.unlink()
    (tmp_path / "coco.json").write_text("{}")
    words = ["--retry-failed", "--coco", str(tmp_path / "coco.json")]
    assert "coco.json is there already" in run(*words, code=1)[1]
    assert not shard.exists(), "nothing was computed"

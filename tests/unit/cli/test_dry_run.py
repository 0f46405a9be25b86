"""``--dry-run``: everything is checked and told, nothing is written, and no weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import FEW, records
from PIL import Image

from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.cli import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with something for every command, to which nothing is added, in a program that loads no weights."""
    loads = Checkpoint.load

    def load(self: Checkpoint, bank: Any, names: Any, *more: Any) -> Any:
        assert list(names) == ["tower.embeddings.class_embedding"], "which the fingerprint takes"
        return loads(self, bank, names, *more)

    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.new("RGB", (40, 30), "red").save(tmp_path / "photos" / f"{name}.png")
    target = {"sent_id": 1, "expression": "a", "img_path": "a.png", "bbox": [0, 0, 9, 9], "width": 40, "height": 30}
    (tmp_path / "a.jsonl").write_text(json.dumps(target) + "\n")
    taught = [target | {"sent_id": name, "img_path": f"photos/{name}.png"} for name in "ab"]
    (tmp_path / "t.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in taught))
    questions = [{"image": "a.png", "text": "Is it?", "category": "OCR", "answer": said} for said in ("Yes", "No")]
    (tmp_path / "q.jsonl").write_text("".join(f"{json.dumps(question)}\n" for question in questions))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Checkpoint, "load", load)
    return tmp_path


REFCOCO = ["eval", "refcoco", "--annotations", "a.jsonl", "--images", "photos", "--out", "p.jsonl"]
PLANS = [
    (
        ["annotate", "photos", "--caption", "--out", "job", "--coco", "c.json"],
        {"images": 2, "done": 0, "then": ["c.json"]},
    ),
    (REFCOCO, {"questions": 1, "done": 0, "out": "p.jsonl"}),
    (["eval", "mme", "--questions", "q.jsonl", "--images", "photos", "--out", "new"], {"questions": 2, "out": "new"}),
    (["eval", "shapes", "--scenes", "3"], {"scenes": 3}),
    (["eval", "boxes", "a.jsonl", "--images", "photos", "--out", "b.jsonl"], {"phrases": 1, "out": "b.jsonl"}),
    (["teach", "t.jsonl", "--task", "G", "--out", "a.safetensors"], {"examples": 2, "pictures": 1}),
    (
        ["convert", "--precision", "int8", "--task", "Text", "--out", "new"],
        {"files": ["base.safetensors", "text.safetensors"]},
    ),
]


@pytest.mark.parametrize(
    ("words", "plan"), PLANS, ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else ""
)
def test_it_tells_and_writes_nothing(
    words: list[str], plan: dict[str, Any], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert main([*words, "--dry-run", "--json"]) == 0
    (told,) = records(capsys)
    assert told["dry_run"] is True and plan.items() <= told.items()
    assert main([*words, "--dry-run"]) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["annotate", "missing", "--caption", "--out", "job"], "nothing at missing"),
        ([*REFCOCO, "--model", "nowhere"], "no checkpoint at nowhere"),
        (["convert", "--precision", "int8", "--out", "photos"], "holds something already"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("here")
def test_what_would_fail_fails(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--dry-run"]) == 1
    assert said in capsys.readouterr().err


def test_a_job_that_goes_on_says_how_much_is_done_and_another_is_refused(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["annotate", photo, "--caption", "--model", model, "--out", str(tmp_path / "job"), *FEW]
    assert main(words) == 0
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main([*words, "--dry-run", "--json"]) == 0
    assert records(capsys)[0]["done"] == 1
    assert main([*words, "--preset", "tags", "--dry-run"]) == 1
    assert "other settings" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_tasks_to_convert_are_those_of_all_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", "--precision", "int8", "--out", str(tmp_path / "new"), "--dry-run", "--json"]
    assert main([*words, "--task", "MM", "--task", "G"]) == 0 and main([*words, "--task", "MM", "G"]) == 0
    assert main(words) == 0
    repeated, listed, every = records(capsys)
    assert repeated == listed and repeated["bytes"] < every["bytes"]


def test_converting_writes_as_many_bytes_as_were_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", "--precision", "int4", "--task", "Text", "--out", str(tmp_path / "new"), "--json"]
    assert main([*words, "--dry-run"]) == 0
    assert main(words) == 0
    told, written = records(capsys)
    assert told["bytes"] <= written["bytes"] < told["bytes"] + 20_000, "headers are small"

"""``iaa eval`` runs benchmarks on a tiny checkpoint, and its pages stand alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

import pytest
from launched import TWO_PROCESSES
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.cli import main
from iaa_runtime.evaluation.shapes import MEANINGS
from iaa_runtime.jobs.origin import SUFFIX, read_origin
from iaa_runtime.text.conversation import Conversation
from iaa_runtime.text.prompts import grounding_question

TOKENS = ["--max-new-tokens", "24"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny"), Geometry(context=640))


@pytest.fixture
def refcoco(tmp_path: Path) -> Path:
    """Annotations of four pictures, two expressions each, beside a folder ``img``."""
    (tmp_path / "img").mkdir()
    rows = []
    for number, size in enumerate([(60, 40), (40, 60), (50, 50), (90, 30)]):
        Image.new("RGB", size, ("red", "green", "blue", "white")[number]).save(tmp_path / "img" / f"{number}.png")
        for word in ("left", "right"):
            rows.append(
                {
                    "sent_id": len(rows),
                    "expression": f"<{word}> & {number}.",
                    "img_path": f"{number}.png",
                    "bbox": [5, 5, 25, 25],
                    "width": size[0],
                    "height": size[1],
                }
            )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def refcoco_words(folder: Path, tiny: Path, *more: str) -> list[str]:
    files = [
        "--annotations",
        str(folder / "a.jsonl"),
        "--images",
        str(folder / "img"),
        "--out",
        str(folder / "p.jsonl"),
    ]
    return ["eval", "refcoco", *files, "--model", str(tiny), *TOKENS, *more]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_refcoco_runs_and_scores(refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = refcoco / "page.html"
    assert main(refcoco_words(refcoco, tiny, "--json", "--report", str(page), "--batch", "3")) == 0
    out, err = capsys.readouterr()
    predictions = read(refcoco / "p.jsonl")
    assert [list(row) for row in predictions] == [["question_id", "prompt", "text"]] * 8
    assert [row["question_id"] for row in predictions] == list(range(8))
    assert not (refcoco / "p.jsonl.parts").exists()
    assert "8 of 8 questions" in err
    summary = json.loads(out)
    assert summary["tp"] + summary["fp"] == 8
    origin = summary["origin"]
    assert json.loads((refcoco / "p.jsonl.about.json").read_text()) == origin
    assert origin["model"] == IAAPipeline.from_pretrained(tiny).identity()["model"] and origin["count"] == 8
    assert origin["settings"] == {
        **{"benchmark": "refcoco", "checkpoint": str(tiny), "batch": 3, "grammar": False, "max_new_tokens": 24}
    }
    assert origin["precision"] == "float32" and origin["device"] and origin["date"] and origin["torch"]
    assert origin["model"] in page.read_text(encoding="utf-8")
    # What is there already is scored alike.
    files = ["--annotations", str(refcoco / "a.jsonl"), "--predictions", str(refcoco / "p.jsonl")]
    assert main(["eval", "refcoco", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == summary


def test_a_record_of_origin_replaces_none_but_its_like(
    refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (refcoco / "p.jsonl.about.json").write_text("mine")
    assert main(refcoco_words(refcoco, tiny)) == 1
    assert "no record of a run" in capsys.readouterr().err
    assert (refcoco / "p.jsonl.about.json").read_text() == "mine"


def test_refcoco_asks_as_published(refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(refcoco_words(refcoco, tiny)) == 0
    pipeline = IAAPipeline.from_pretrained(tiny)
    question = grounding_question("<left> & 2", full_stop=False)
    assert not question.endswith(".")
    reply = pipeline.reply(Conversation().user(question), "G", refcoco / "img" / "2.png", max_new_tokens=24)
    assert read(refcoco / "p.jsonl")[4]["text"] == reply.text


def test_a_grammar_makes_every_answer_readable(refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(refcoco_words(refcoco, tiny, "--grammar", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["unreadable"] == 0


def test_a_run_goes_on_where_it_was_killed(
    refcoco: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(refcoco_words(refcoco, tiny, "--batch", "1")) == 0
    expected = (refcoco / "p.jsonl").read_bytes()
    (refcoco / "p.jsonl").unlink()
    asked: list[int] = []
    answer = IAAPipeline.answer

    def interrupt(*args: Any, **options: Any) -> Any:
        asked.append(1)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return answer(*args, **options)

    monkeypatch.setattr(IAAPipeline, "answer", interrupt)
    assert main(refcoco_words(refcoco, tiny, "--batch", "1")) == 130
    assert not (refcoco / "p.jsonl").exists()
    assert main(refcoco_words(refcoco, tiny, "--batch", "1")) == 0
    assert len(asked) == 6 + 3  # five answers were kept
    assert (refcoco / "p.jsonl").read_bytes() == expected


def test_two_processes_write_what_one_does(
    refcoco: Path, tiny: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate")
    words = refcoco_words(refcoco, tiny, "--batch", "1", "--json", "--device", "cpu", "--dtype", "fp32")
    assert main(words) == 0
    summary, alone = capsys.readouterr().out, (refcoco / "p.jsonl").read_bytes()
    (refcoco / "p.jsonl").unlink()
    done = subprocess.run(
        [sys.executable, *TWO_PROCESSES, "-m", "iaa_runtime", *words],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    alike, again = json.loads(summary), json.loads(done.stdout)  # one process talks
    assert alike["origin"].pop("date") <= again["origin"].pop("date") and alike == again
    assert (refcoco / "p.jsonl").read_bytes() == alone


def test_a_result_is_never_replaced(refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (refcoco / "p.jsonl").write_text("mine")
    assert main(refcoco_words(refcoco, tiny)) == 1
    assert "p.jsonl is there already" in capsys.readouterr().err
    assert (refcoco / "p.jsonl").read_text() == "mine"


def test_missing_and_wrong_pictures_are_named(refcoco: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (61, 40)).save(refcoco / "img" / "0.png")
    assert main(refcoco_words(refcoco, tiny)) == 1
    assert "has 61 x 40 pixels, but its annotation says 60 x 40" in capsys.readouterr().err
    (refcoco / "img" / "3.png").unlink()
    assert main(refcoco_words(refcoco, tiny)) == 1
    assert "1 pictures of the annotations are not in" in capsys.readouterr().err


@pytest.mark.skipif(os.sep == "\\", reason="there it is a path")
def test_pictures_are_found_by_paths_that_windows_wrote(refcoco: Path, tiny: Path) -> None:
    rows = [row | {"img_path": f"img\\{row['img_path']}"} for row in read(refcoco / "a.jsonl")]
    (refcoco / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = refcoco_words(refcoco, tiny, "--report", str(refcoco / "page.html"))
    words[words.index(str(refcoco / "img"))] = str(refcoco)
    assert main(words) == 0
    assert "no image" not in (refcoco / "page.html").read_text()


def test_the_refcoco_page_stands_alone(refcoco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = ["[0,0,0,0]", "<b>bold</b>", "[0.1,0.2,9,9]"] + ["[0,0,1,1]"] * 5
    rows = [{"question_id": number, "text": text} for number, text in enumerate(answers)]
    (refcoco / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (refcoco / "img" / "3.png").unlink()
    files = ["--annotations", str(refcoco / "a.jsonl"), "--predictions", str(refcoco / "p.jsonl")]
    page = refcoco / "pages" / "page.html"
    assert main(["eval", "refcoco", *files, "--images", str(refcoco / "img"), "--report", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 6
    assert html.count("<figure>") == 8
    assert "There is no image at" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "&lt;left&gt; &amp; 0." in html
    assert not re.search(r"(src|href)='(?!data:)", html)
    assert "http" not in html


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for category in ("count", "OCR"):
        (tmp_path / "mme" / category).mkdir(parents=True)
        for name in "ab":
            Image.new("RGB", (40, 30), "red").save(tmp_path / "mme" / category / f"{name}.png")
            (tmp_path / "mme" / category / f"{name}.txt").write_text(
                "Is it red? Please answer yes or no.\tYes\nIs it blue? Please answer yes or no.\tNo\n"
            )
    return tmp_path


def test_mme_runs_and_scores(release: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = release / "page.html"
    words = ["--data", str(release / "mme"), "--out", str(release / "results"), "--model", str(tiny)]
    assert main(["eval", "mme", *words, "--max-new-tokens", "3", "--json", "--report", str(page)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert list(summary["scores"]) == ["count", "OCR"]
    assert len(summary["missing"]) == 12
    lines = (release / "results" / "OCR.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:3] for line in lines[:2]] == [
        ["a.png", "Is it red? Please answer yes or no.", "Yes"],
        ["a.png", "Is it blue? Please answer yes or no.", "No"],
    ]
    pipeline = IAAPipeline.from_pretrained(tiny)
    asked = "Is it red?\nAnswer the question using a single word or phrase."
    said = pipeline.caption(release / "mme" / "OCR" / "a.png", asked, max_new_tokens=3)[0]
    assert lines[0].split("\t")[3] == " ".join(said.split())
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 8
    assert main(["eval", "mme", "--results", str(release / "results"), "--partial", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == summary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mme", "--out", "x"], "either --data"),
        (["mme", "--out", "x", "--data", "x", "--questions", "x"], "either --data"),
        (["mme", "--out", "x", "--questions", "x"], "needs the folder of the pictures"),
    ],
)
def test_arguments_that_do_not_go_together(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *words]) == 2
    assert message in capsys.readouterr().err


def test_refcoco_needs_pictures_to_run(refcoco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "refcoco", "--annotations", str(refcoco / "a.jsonl"), "--out", str(refcoco / "p.jsonl")]) == 2
    assert "give the folder of the pictures" in capsys.readouterr().err


@pytest.mark.slow
def test_shapes_are_scored_through_the_pipeline(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tiny.parent / "shapes.html"
    assert main(["eval", "shapes", "--scenes", "1", "--model", str(tiny), "--json", "--report", str(page)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"single_precision", "vqa", "caption_recall", "text"} <= result["measures"].keys()
    assert result["measures"].keys() == result["details"].keys() and result["origin"]["count"] == 1
    text = page.read_text(encoding="utf-8")
    assert all(escape(meaning) in text for meaning in MEANINGS.values()) and result["origin"]["model"] in text


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a file without an end, of Linux and macOS")
def test_a_record_that_never_ends_is_none(tmp_path: Path) -> None:
    (tmp_path / f"scores.json{SUFFIX}").symlink_to("/dev/zero")
    assert read_origin(tmp_path / "scores.json") is None

"""``iaa eval compare``: two runs on the same questions, paired."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.cli import main
from iaa_runtime.evaluation.statistics import bootstrap_interval, bootstrap_sum_interval, wilson_interval
from iaa_runtime.shapes.evaluate import Tally, as_dict, evaluate

PICTURES = 200


class Sloppy:
    """Answers every question in the same words, and finds everything in a corner."""

    def caption(self, images: list[Any], prompt: str = "") -> list[str]:
        return ["yes"] * len(images)

    def ground(self, images: list[Any], phrases: list[str]) -> list[list[Detection]]:
        return [[Detection(0, 0, 20, 20, phrase, 0.5) for phrase in phrases] for _ in images]

    def text(self, prompt: str) -> str:
        return "right"


def predictions(folder: Path, name: str, right: list[bool]) -> Path:
    """Two expressions a picture, right or wrong."""
    texts = ["[0.1,0.1,0.5,0.5]" if hit else "[0.6,0.6,0.9,0.9]" for hit in right]
    rows = [{"question_id": n, "prompt": "it", "text": text} for n, text in enumerate(texts)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


@pytest.fixture
def split(tmp_path: Path) -> Path:
    shape = {"expression": "it", "bbox": [10, 10, 50, 50], "width": 100, "height": 100}
    rows = [shape | {"sent_id": n, "img_path": f"{n // 2}.png"} for n in range(2 * PICTURES)]
    (tmp_path / "split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "split.jsonl"


def compared(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["eval", "compare", *map(str, words), "--json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_a_small_difference_is_told_from_chance(
    tmp_path: Path, split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [bool(hit) for hit in np.random.default_rng(0).integers(0, 2, 2 * PICTURES)]
    second = [hit or number % 20 == 0 for number, hit in enumerate(first)]
    a, b = predictions(tmp_path, "a.jsonl", first), predictions(tmp_path, "b.jsonl", second)
    summary = compared(capsys, a, b, "--annotations", split)
    gained = sum(second) - sum(first)
    assert (summary["only_first"], summary["only_second"], summary["count"]) == (0, gained, 2 * PICTURES)
    measure = summary["precision_at_0.5"]
    low, high = measure["interval_95"]
    assert measure["difference"] == pytest.approx(gained / 400) and 0 < low < measure["difference"] < high
    assert wilson_interval(sum(first), 400)[1] > wilson_interval(sum(second), 400)[0], "though their own overlap"
    back = compared(capsys, b, a, "--annotations", split)["precision_at_0.5"]
    assert back["difference"] == -measure["difference"] and back["interval_95"][1] < 0
    assert compared(capsys, a, a, "--annotations", split)["mean_iou"]["interval_95"] == [0, 0]
    assert main(["eval", "compare", str(a), str(b), "--annotations", str(split)]) == 0
    assert f"right in A alone 0, in B alone {gained}, of 400" in capsys.readouterr().out


def results(folder: Path, right: list[bool]) -> Path:
    folder.mkdir()
    lines = [f"{n // 2}.png\tQ{n % 2}?\tYes\t{'Yes' if hit else 'No'}\n" for n, hit in enumerate(right)]
    (folder / "count.txt").write_text("".join(lines))
    return folder


def test_mme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = results(tmp_path / "a", [True, False] * 30)
    b = results(tmp_path / "b", [True, True] * 30)
    summary = compared(capsys, a, b, "--partial")
    assert summary["scores"]["count"] == {"first": 50, "second": 200, "difference": 150, "interval_95": [150, 150]}
    assert summary["perception"]["difference"] == 150 and summary["cognition"]["difference"] == 0
    assert (summary["only_first"], summary["only_second"], summary["count"]) == (0, 30, 60)


def test_mme_is_paired_by_its_questions_whatever_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [True, True, True, False, False, False] * 10
    a, b = results(tmp_path / "a", right), results(tmp_path / "b", right)
    lines = (b / "count.txt").read_text().splitlines(keepends=True)
    (b / "count.txt").write_text("".join(reversed(lines)))
    summary = compared(capsys, a, b, "--partial")
    assert summary["scores"]["count"]["interval_95"] == [0, 0]
    assert summary["only_first"] == summary["only_second"] == 0


def test_the_demo_s_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = evaluate(Sloppy(), 40)
    better = Tally(scenes=[replace(scene, questions=(True,) * len(scene.questions)) for scene in tally.scenes])
    a, b, fewer = (tmp_path / f"{name}.json" for name in ("a", "b", "fewer"))
    a.write_text(json.dumps(as_dict(tally)))
    b.write_text(json.dumps(as_dict(better)))
    fewer.write_text(json.dumps(as_dict(Tally(scenes=tally.scenes[1:]))))
    summary = compared(capsys, a, b)
    asked = sum(len(scene.questions) for scene in tally.scenes)
    assert summary["vqa"]["second"] == 1 and summary["vqa"]["interval_95"][0] > 0
    assert summary["vqa"]["first"] == pytest.approx(tally.report()["vqa"])
    assert summary["single_iou"]["difference"] == 0 == summary["only_first"]
    assert summary["only_second"] == round(asked * summary["vqa"]["difference"]) and summary["count"] == 40
    assert main(["eval", "compare", str(a), str(fewer)]) == 1
    assert "other scenes" in capsys.readouterr().err


def test_runs_on_other_questions_are_not_compared(
    tmp_path: Path, split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = results(tmp_path / "a", [True] * 6), results(tmp_path / "b", [True] * 8)
    (b / "code_reasoning.txt").write_text((b / "count.txt").read_text())
    for words, said in (
        ((a, b, "--partial"), "One run alone has code_reasoning"),
        ((a, split), "give it with --annotations"),
    ):
        assert main(["eval", "compare", *map(str, words)]) == 1
        assert said in capsys.readouterr().err
    (b / "code_reasoning.txt").unlink()
    assert main(["eval", "compare", str(a), str(b), "--partial"]) == 1
    assert "3.png 'Q0?' is in one run alone" in capsys.readouterr().err


def test_one_stratum_is_the_plain_bootstrap() -> None:
    values = [float(n % 7) for n in range(100)]
    assert bootstrap_sum_interval([values]) == pytest.approx(bootstrap_interval(values, [1] * 100))
    assert bootstrap_sum_interval([]) == (0, 0)

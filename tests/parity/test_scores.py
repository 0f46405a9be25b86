"""RefCOCO and MME against what the published scorers print (``tests/reference/io``)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from iaa_runtime.cli import main
from iaa_runtime.evaluation import mme, refcoco

IO = Path(__file__).parents[1] / "reference" / "io"
REFCOCO, MME = IO / "refcoco", IO / "mme"


def test_refcoco_scores_as_published() -> None:
    targets = refcoco.read_annotations(REFCOCO / "annotations.jsonl")
    answers = refcoco.read_predictions(REFCOCO / "predictions.jsonl", targets)
    golden = json.loads((REFCOCO / "golden.json").read_text())
    summary = refcoco.summarize(refcoco.score(targets, answers))
    assert {name: summary[name] for name in golden} == golden


def test_refcoco_scores_as_published_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--annotations", str(REFCOCO / "annotations.jsonl"), "--predictions", str(REFCOCO / "predictions.jsonl")]
    assert main(["eval", "refcoco", *files, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    golden = json.loads((REFCOCO / "golden.json").read_text())
    assert {name: json.loads(line)[name] for name in golden} == golden


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("[0.1,0.1,0.9,0.9]", True),
        ("[0.1,0.1,0.9,0.9]; nonsense", True),  # the first hit ends the reading
        ("nonsense; [0.1,0.1,0.9,0.9]", False),
        ("[0,0,0.1,0.1]; [0.1,0.1,0.9,0.9]", True),
        ("[0,0,0.1,0.1];[0.1,0.1,0.9,0.9]", False),  # only "; " parts boxes
        ("[0,0,0.1,0.1], [0.1,0.1,0.9,0.9]", False),
        ("0.1, 0.1, 0.9, 0.9", True),  # a Python tuple, too
        ("(0.1,0.1,0.9,0.9)", True),
        ("[0.1,0.1,0.9,0.9,7]", True),  # only four numbers are looked at
        ("[0.1,0.1,0.9]", False),
        ("[0.1,0.1,0.9,0.9", False),
        ("[[0.1,0.1,0.9,0.9]]", False),
        ("  [.1,+.1,9e-1,0.9] # so", True),
        ("\n[0.1,0.1,0.9,0.9]", True),
        ("[0.1,0.1,09,0.9]", False),  # no Python number
        ("[0.9,0.9,0.1,0.1]", False),  # reversed
        ("[0.1,0.1,1e999,0.9]; [0.1,0.1,0.9,0.9]", True),
        ("[0.1,0.1,nan,0.9]; [0.1,0.1,0.9,0.9]", False),
        ("[True,0.1,0.9,0.9]", False),
        ("", False),
    ],
)
def test_odd_answers_are_read_as_published(text: str, hit: bool) -> None:
    # What is expected was computed with the published scorer.
    target = refcoco.Target(0, "thing", "a.jpg", (10.0, 10.0, 90.0, 90.0), (100, 100))
    assert refcoco.score_answer(target, text).hit is hit


def golden_mme() -> tuple[dict[str, float], dict[str, float]]:
    """The printed totals and scores by name."""
    text = (MME / "golden_stdout.txt").read_text()
    totals = [float(number) for number in re.findall(r"total score: (\S+)", text)]
    scores = {name: float(number) for name, number in re.findall(r"(\w+)  score: (\S+)", text)}
    assert len(scores) == 14
    return dict(zip(("perception", "cognition"), totals, strict=True)), scores


def test_mme_scores_as_published() -> None:
    totals, scores = golden_mme()
    summary = mme.summarize(mme.read_results(MME))
    assert summary["scores"] == scores
    assert {name: summary[name] for name in totals} == totals
    assert summary["missing"] == []


def test_mme_scores_as_published_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    totals, scores = golden_mme()
    assert main(["eval", "mme", "--results", str(MME), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert {name: printed[name] for name in (*totals, *scores)} == totals | scores


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("YES, it is", "yes"),
        ("yes.", "yes"),
        (" yes", "yes"),
        ("No, it is not", "no"),
        ("Not at all", "no"),
        ("Snow", "no"),  # four characters are looked at, whatever they mean
        ("know", "no"),
        ("  yes", "other"),
        ("Maybe", "other"),
        ("It is: yes", "other"),
        ("", "other"),
    ],
)
def test_yes_and_no_are_read_as_published(text: str, said: str) -> None:
    assert mme.Answer("a.jpg", "Is it?", "Yes", text).parsed == said

"""docs/formats.md shows what the program reads and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import FEW
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.cli.chat.script import read_script
from iaa_runtime.cli.chat.unsaved import CHATS
from iaa_runtime.cli.keyboard.history import LINES
from iaa_runtime.evaluation import mme, refcoco
from iaa_runtime.jobs.origin import describe
from iaa_runtime.teaching.compare import case_record, read_cases
from iaa_runtime.text.prompts import grounding_question


@pytest.fixture
def page(project: Path) -> str:
    """docs/formats.md."""
    return (project / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.fixture
def blocks(page: str) -> dict[str, list[str]]:
    """The page's blocks, by what they are called."""
    found: dict[str, list[str]] = {}
    for kind, content in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL):
        found.setdefault(kind, []).append(content)
    return found


def test_examples_are_read(blocks: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("photo.jpg")
    for kind, (content, *_) in blocks.items():
        Path("existence.txt" if kind == "mme" else f"{kind}.jsonl").write_text(content, encoding="utf-8")
    first, second = read_script("chat.jsonl")
    assert (first.image, second.task) == ("photo.jpg", "G")
    assert second.text == grounding_question("the red panda")
    targets = refcoco.read_annotations(Path("annotations.jsonl"))
    (case,) = refcoco.score(targets, refcoco.read_predictions(Path("predictions.jsonl"), targets))
    assert case.readable and case.iou > 0.9, "the answer is about the annotation"
    (found,) = read_cases(Path("cases.jsonl"))
    assert case_record(found) == json.loads(blocks["cases"][0])
    (answers,) = mme.read_results(tmp_path, partial=True).values()
    assert [answer.right for answer in answers] == [True, True]


def test_what_is_printed_has_the_fields_that_it_shows(
    page: str, blocks: dict[str, list[str]], photo: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    caption, ground, label, choose = map(json.loads, blocks["jsonl"][0].splitlines())
    opened = ("--json", "--model", model)
    assert main(["caption", photo, *opened, *FEW]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(caption)
    finding = ["ground", photo, "--phrase", "it", *opened, "--max-new-tokens", "40"]
    assert main(finding) == 0
    line = json.loads(capsys.readouterr().out)
    assert list(line) == list(ground) and [list(box) for box in line["detections"]] == [list(ground["detections"][0])]
    assert main([*finding, "--raw"]) == 0
    line = json.loads(capsys.readouterr().out)
    (answer,) = re.findall(r"`answers`, .*?`\[(\{.*?\})\]`", page, re.DOTALL)
    assert list(line) == [*ground, "answers"] and [list(said) for said in line["answers"]] == [list(json.loads(answer))]
    assert main(["label", photo, *opened]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(label)
    assert main(["choose", photo, "--question", "Is it?", "--choice", "yes", "--choice", "no", *opened]) == 0
    line = json.loads(capsys.readouterr().out)
    assert list(line) == list(choose) and list(line["probabilities"]) == list(choose["probabilities"])
    assert main(["text", "--prompt", "Hi", *opened, *FEW]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["prompt", "text"]


def test_numbers_and_names_on_it_are_those_of_the_code(page: str) -> None:
    assert f"last {LINES} lines" in page and {10: "last ten conversations"}[CHATS] in page
    record = describe({"model": "", "dtype": "", "precision": ""}, "cpu", {}, 0)
    assert [name for name in record if f"`{name}`" not in page] == []

"""``iaa choose``, ``iaa label``, ``iaa ground --check`` and ``iaa caption --boxes``, with the demo model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import records

from iaa_runtime.cli import main
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

FP32 = ("--dtype", "fp32", "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two scenes with shapes apart, as files."""
    folder = tmp_path_factory.mktemp("scenes")
    paths = [str(folder / f"{number}.png") for number in range(2)]
    for seed, path in zip((0, 2), paths, strict=True):
        draw_scene(make_scene(EVALUATION_SEED + seed)).save(path)
    return paths


def test_choose_tells_the_choice_and_every_probability(scenes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asks = ["choose", *scenes, "--question", "Is there a circle?", "--choice", "yes", "--choice", "no", *FP32]
    assert main([*asks, "--json"]) == 0
    told = records(capsys)
    assert [record["image"] for record in told] == scenes
    for record in told:
        assert record["probabilities"][record["choice"]] == max(record["probabilities"].values()) > 0.5
        assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert main(asks) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{scenes[0]}: {told[0]['choice']} (yes ") and second.startswith(scenes[1])


def test_choose_needs_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    choices = ("--choice", "up", "--choice", "right")
    assert main(["choose", "--question", "What is the opposite of left?", *choices, *FP32]) == 0
    assert capsys.readouterr().out.startswith("right (up ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--question", "x", "--choice", "yes"], "1 choices"),
        (["--question", "x", "--choice", "a", "--choice", "a "], "'a' is given twice"),
        (["--question", " ", "--choice", "a", "--choice", "b"], "question is empty"),
    ],
)
def test_what_is_no_choice_is_a_bad_argument(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", *words]) == 2
    assert said in capsys.readouterr().err


def test_labels_and_captions_of_boxes_go_together(
    scenes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "drawn.png"
    assert main(["label", scenes[1], "--draw", str(drawn), "--json", *FP32]) == 0
    captured = capsys.readouterr().out
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text(captured)
    found = json.loads(captured)["detections"]
    labels = {"large pink circle", "large yellow circle", "small pink star"}
    assert {box["label"] for box in found} == labels and drawn.exists()
    asks = ["caption", scenes[1], "--boxes", str(boxes), "--prompt", "What color is the {label}?", *FP32]
    assert main([*asks, "--json"]) == 0
    (told,) = records(capsys)
    assert [box | {"text": ""} for box in found] == [box | {"text": ""} for box in told["detections"]]
    assert all(box["text"] for box in told["detections"])
    assert main(asks) == 0
    assert f"width={found[0]['width']} height={found[0]['height']}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "other.png", "detections": []}', "has no boxes of"),
        ('{"image": "a.png", "error": "It is broken."}', "has no boxes of"),
        ('{"image": "a.png"}', "Line 1 of"),
        ('{"image": "a.png", "detections": [5]}', "no picture with its boxes"),
        ('{"image": ["a.png"], "detections": []}', "no picture with its boxes"),
    ],
)
def test_boxes_of_other_pictures_are_refused(
    line: str, said: str, scenes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text(line + "\n")
    assert main(["caption", scenes[0], "--boxes", str(boxes), *FP32]) == 1
    assert said in capsys.readouterr().err


def test_a_picture_that_failed_has_an_error_of_its_own_and_another_s_boxes_are_those_of_all_lines(
    scenes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = {"x": 1, "y": 2, "width": 90, "height": 80, "label": "shape"}
    rows: list[dict[str, object]] = [{"image": scenes[1], "detections": [box | {"x": x}]} for x in (1, 5)]
    rows.insert(0, {"image": scenes[0], "error": "It was broken."})
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["caption", *scenes, "--boxes", str(boxes), "--json", *FP32]) == 1
    captured = capsys.readouterr()
    failed, told = [json.loads(line) for line in captured.out.splitlines()]
    assert failed == {"image": scenes[0], "error": f"{boxes} has no boxes of {scenes[0]}, but an error: It was broken."}
    assert failed["error"] in captured.err
    assert told["image"] == scenes[1] and [found["x"] for found in told["detections"]] == [1, 5]
    assert main(["caption", scenes[0], "--boxes", str(boxes), *FP32]) == 1
    assert "It was broken." in capsys.readouterr().err
    boxes.write_text("".join(json.dumps(row | {"image": scenes[0]}) + "\n" for row in rows))
    assert main(["caption", scenes[0], "--boxes", str(boxes), *FP32]) == 0, "another line has its boxes"


def test_a_check_lowers_the_score_of_what_is_not_there(scenes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asks = ["ground", scenes[1], "--phrase", "the dog", "--threshold", "0", "--one", "--json", *FP32]
    scores = []
    for check in ([], ["--check"]):
        assert main([*asks, *check]) == 0
        ((box,),) = [record["detections"] for record in records(capsys)]
        scores.append(box["score"])
    assert scores[1] < scores[0]


def test_what_is_asked_may_say_whose_picture_it_is(
    scenes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels are the phrases as they were asked; what else is in braces stays."""
    folder = Path(scenes[0]).parent.name
    asks = ["ground", *scenes, "--phrase", "{name} of {folder}, {index} {x}", "--threshold", "0"]
    assert main([*asks, "--json", *FP32]) == 0
    told = [{box["label"] for box in record["detections"]} for record in records(capsys)]
    assert told == [{f"0 of {folder}, 1 {{x}}"}, {f"1 of {folder}, 2 {{x}}"}]


@pytest.mark.parametrize(
    "asks",
    [["caption", "--prompt"], ["choose", "--choice", "one", "--choice", "two", "--question"], ["label", "--prompt"]],
    ids=["caption", "choose", "label"],
)
def test_a_file_may_be_named_as_what_is_asked(
    asks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = ["How many shapes are there", "What color is the largest shape", "List every object in this image once"]
    paths = [str(tmp_path / f"{question}.png") for question in questions]
    for path in paths:
        draw_scene(make_scene(EVALUATION_SEED + 1)).save(path)
    assert main([*asks, "{name}?", *paths, "--json", *FP32]) == 0
    told = records(capsys)
    for path, question, record in zip(paths, questions, told, strict=True):
        assert main([*asks, f"{question}?", path, "--json", *FP32]) == 0
        assert records(capsys) == [record]
    assert len({json.dumps(record | {"image": ""}) for record in told}) > 1

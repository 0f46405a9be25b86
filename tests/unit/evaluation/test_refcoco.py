"""RefCOCO: annotations and predictions as they come, and what the summary adds to the published score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.evaluation import refcoco

GOOD: dict[str, Any] = {
    "sent_id": 1,
    "expression": "the left one",
    "img_path": "a.jpg",
    "bbox": [10, 20, 30, 60],
    "height": 100,
    "width": 200,
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_annotations_are_read_in_order(tmp_path: Path) -> None:
    rows = [GOOD | {"sent_id": number} for number in (5, "b", 3)]
    targets = refcoco.read_annotations(write(tmp_path / "a.jsonl", rows[0], "", *rows[1:]))
    assert list(targets) == [5, "b", 3]
    assert targets[3] == refcoco.Target(3, "the left one", "a.jpg", (10, 20, 30, 60), (200, 100))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sent_id": None}, "line 2: 'sent_id' is None"),
        ({"sent_id": True}, "line 2: 'sent_id' is True"),
        ({"expression": " "}, "line 2: needs an 'expression'"),
        ({"img_path": 3}, "line 2: needs an 'expression' and an 'img_path'"),
        ({"width": 0}, "line 2: 'width' and 'height' are 0 and 100"),
        ({"height": "100"}, "line 2: 'width' and 'height'"),
        ({"bbox": [1, 2, 3]}, r"line 2: 'bbox' is \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, "line 2: 'bbox' is"),
        ({"bbox": "1,2,3,4"}, "line 2: 'bbox' is '1,2,3,4'"),
        ({"bbox": [30, 20, 10, 60]}, "line 2: 'bbox' .* empty or reversed"),
        ({"sent_id": 1}, "line 2: sent_id 1 is there already"),
    ],
)
def test_a_malformed_annotation_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, GOOD | {"sent_id": 2} | change)
    with pytest.raises(InputError, match=message):
        refcoco.read_annotations(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 1: not JSON"), ("[]", "line 1: list, not an object"), ("", "holds no annotation")],
)
def test_a_line_that_is_no_object_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        refcoco.read_annotations(write(tmp_path / "a.jsonl", line))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl cannot be read"):
        refcoco.read_annotations(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question_id": 1, "text": "a"}], "1 of 2 annotations have no prediction in .*: sent_id 2"),
        ([{"question_id": n, "text": "a"} for n in (1, 2, 7)], "1 predictions in .* have no annotation: question_id 7"),
        ([{"question_id": 1, "text": "a"}] * 2, "line 2: question_id 1 is there already"),
        ([{"question_id": 1}], "line 1: 'text' is None"),
        ([{"text": "a"}], "line 1: 'question_id' is None"),
    ],
)
def test_predictions_and_annotations_must_cover_each_other(rows: list[Any], message: str, tmp_path: Path) -> None:
    targets = refcoco.read_annotations(write(tmp_path / "a.jsonl", GOOD, GOOD | {"sent_id": 2}))
    with pytest.raises(InputError, match=message):
        refcoco.read_predictions(write(tmp_path / "p.jsonl", *rows), targets)


def test_an_answer_that_python_would_parse_for_minutes_is_refused(tmp_path: Path) -> None:
    targets = refcoco.read_annotations(write(tmp_path / "a.jsonl", GOOD))
    longest = "0," * (refcoco.LONGEST_ANSWER // 2)
    predictions = write(tmp_path / "p.jsonl", {"question_id": 1, "text": longest})
    assert not refcoco.score(targets, refcoco.read_predictions(predictions, targets))[0].hit
    write(predictions, {"question_id": 1, "text": f"{longest}0"})
    with pytest.raises(InputError, match=r"p\.jsonl, line 1: 'text' has more than 262144 characters"):
        refcoco.read_predictions(predictions, targets)


def case(box: tuple[float, float, float, float], size: tuple[int, int], text: str, path: str) -> refcoco.Case:
    return refcoco.score_answer(refcoco.Target(path, "thing", path, box, size), text)


def test_the_summary_groups_by_size_and_shape() -> None:
    cases = [
        case((0, 0, 20, 20), (100, 100), "[0,0,0.2,0.2]", "a"),  # small, square: IoU 1
        case((0, 0, 50, 50), (100, 75), "[0,0.125,0.5,0.375]", "a"),  # medium, 4:3: IoU 0.5
        case((0, 0, 100, 100), (300, 200), "[0.5,0.5,1,1]", "b"),  # large, 3:2: IoU 0
        case((0, 0, 96, 96), (100, 300), "I cannot", "c"),  # 96² is large; longer
    ]
    summary = refcoco.summarize(cases)
    assert [c.iou for c in cases] == pytest.approx([1, 0.5, 0, 0])
    assert (summary["tp"], summary["fp"], summary["unreadable"]) == (2, 2, 1)
    assert summary["mean_iou"] == pytest.approx(0.375)
    assert summary["iou_histogram"] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert summary["precision_at"]["0.5"] == 0.5
    assert summary["precision_at"]["0.55"] == summary["precision_at"]["0.95"] == 0.25
    assert {name: group["count"] for name, group in summary["by_size"].items()} == {"small": 1, "medium": 1, "large": 2}
    assert {name: group["precision_at_0.5"] for name, group in summary["by_aspect"].items()} == {
        "square": 1,
        "to 4:3": 1,
        "to 3:2": 0,
        "longer": 0,
    }
    json.dumps(summary, allow_nan=False)


def test_nothing_of_an_answer_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"[open({str(trap)!r}, 'w').write('x'), 0, 1, 1]"
    assert not case((0, 0, 20, 20), (100, 100), text, "a").readable
    assert not trap.exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, "[" + "9" * 400 + ",0,1,1]", "\0", "-" * 5000 + "1"])
def test_hostile_answers_are_misses(text: str) -> None:
    assert not case((0, 0, 20, 20), (100, 100), text, "a").hit

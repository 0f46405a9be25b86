"""Boxes are paired one to one, and one too many or too few costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.boxes.geometry import Box
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.scores import BoxCase, summarize_boxes

PICTURE = Image.new("RGB", (100, 100))


def case(true: list[Box], found: list[tuple[int, int, int, int]], phrase: str = "cat") -> BoxCase:
    detections = tuple(Detection.from_xyxy(box, phrase, 0.5) for box in found)
    return BoxCase(Example(PICTURE, phrase, tuple(true)), detections)


@pytest.mark.parametrize(
    ("true", "found", "right"),
    [
        ([(0, 0, 10, 10)], [(0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 10)], [], 0.0),
        ([(0, 0, 10, 10)], [(0, 0, 10, 10), (50, 50, 60, 60)], 0.5),
        ([(0, 0, 10, 10), (50, 50, 60, 60)], [(50, 50, 60, 60)], 0.5),
        ([(0, 0, 10, 10), (50, 50, 60, 60)], [(50, 50, 60, 60), (0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 10)], [(0, 0, 10, 4)], 0.0),
    ],
)
def test_right(true: list[Box], found: list[tuple[int, int, int, int]], right: float) -> None:
    assert case(true, found).right(0.5) == right


def test_the_best_pairs_go_first() -> None:
    overlaps = case([(0, 0, 10, 10), (4, 0, 14, 10)], [(4, 0, 14, 10)]).overlaps
    assert overlaps == (0.0, 1.0)


def test_the_summary_counts_absent_phrases_apart() -> None:
    cases = [case([(0, 0, 10, 10)], [(0, 0, 10, 10)]), case([], [(1, 1, 5, 5)]), case([], [], "dog")]
    summary = summarize_boxes(cases)
    assert (summary["count"], summary["precision_at_0.5"], summary["mean_iou"]) == (1, 1.0, 1.0)
    assert (summary["absent"], summary["false_boxes"]) == (2, 0.5)
    low, high = summary["false_boxes_interval_95"]
    assert 0 < low < 0.5 < high < 1
    assert summary["by_phrase"] == {"cat": {"count": 1, "precision_at_0.5": 1.0, "mean_iou": 1.0}}


def test_the_intervals_of_few_pictures_that_are_all_right_are_wide() -> None:
    pictures = [Image.new("RGB", (100, 100)) for _ in range(4)]
    found = case([(0, 0, 10, 10)], [(0, 0, 10, 10)])
    summary = summarize_boxes([replace(found, example=replace(found.example, image=picture)) for picture in pictures])
    for name in ("precision_at_0.5", "precision_at_0.75", "mean_iou"):
        low, high = summary[f"{name}_interval_95"]
        assert (round(low, 2), high) == (0.51, 1.0)


def test_measures_of_nothing_are_none() -> None:
    summary = summarize_boxes([case([(0, 0, 10, 10)], [])])
    assert summary["false_boxes"] is None and summary["precision_at_0.5"] == 0.0

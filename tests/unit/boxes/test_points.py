"""Points lie where they are asked for, and inside of their box."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from box_strategies import batches
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.points import box_points, points_json
from iaa_runtime.config.boxes import MOST_PER_SIDE
from iaa_runtime.errors import Cancelled, InputError

BOX = {"x": 10, "y": 20, "width": 60, "height": 30}


def test_one_point_is_the_centre() -> None:
    assert box_points(BOX) == [{"x": 40, "y": 35}]


def test_more_are_a_grid_row_by_row() -> None:
    assert box_points(BOX, 2) == [{"x": 30, "y": 30}, {"x": 50, "y": 30}, {"x": 30, "y": 40}, {"x": 50, "y": 40}]


@given(batches(), st.integers(1, MOST_PER_SIDE))
def test_they_lie_in_pixels_of_their_box(
    batch: tuple[tuple[int, int], list[list[dict[str, Any]]]], per_side: int
) -> None:
    _, boxes = batch
    for box in (box for found in boxes for box in found):
        points = box_points(box, per_side)
        assert len(points) == per_side**2
        for point in points:
            for side, length in (("x", "width"), ("y", "height")):
                low, high = math.floor(box[side]), box[side] + box[length]
                assert low <= point[side] <= high and (point[side] < high or low == math.floor(high))


@pytest.mark.parametrize("per_side", range(1, MOST_PER_SIDE + 2))
def test_the_largest_grid_still_lies_in_what_is_round(per_side: int) -> None:
    box = {"x": 0, "y": 0, "width": 3000, "height": 1000}
    reach = per_side / (per_side + 1) - 0.5
    in_the_ellipse = 2 * (2 * reach) ** 2 < 1
    assert in_the_ellipse == (per_side <= MOST_PER_SIDE)
    if in_the_ellipse:
        for point in box_points(box, per_side):
            assert ((point["x"] - 1500) / 1500) ** 2 + ((point["y"] - 500) / 500) ** 2 <= 1.01


def test_the_text_is_json_of_all_boxes() -> None:
    there = {"x": 0, "y": 0, "width": 3, "height": 3, "label": "it"}
    assert json.loads(points_json([BOX, there])) == [{"x": 40, "y": 35}, {"x": 1, "y": 1}]
    assert json.loads(points_json([])) == []


@pytest.mark.parametrize("per_side", [0, -1, MOST_PER_SIDE + 1])
def test_other_numbers_are_refused(per_side: int) -> None:
    with pytest.raises(InputError, match=f"Ask for 1 to {MOST_PER_SIDE}"):
        box_points(BOX, per_side)


def test_cancel_is_heard_within_the_boxes() -> None:
    with pytest.raises(Cancelled):
        points_json([BOX] * 3, cancelled=lambda: True)

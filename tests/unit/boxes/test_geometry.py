from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from iaa_runtime.boxes.crops import CropOptions, plan_crops
from iaa_runtime.boxes.geometry import iou, pad_box, pairwise_iou, unpad_box
from iaa_runtime.boxes.masks import box_masks
from iaa_runtime.boxes.segs import to_segs
from iaa_runtime.errors import InputError

fractions = st.floats(-3, 3)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
boxes = st.tuples(fractions, fractions, fractions, fractions)
ordered_boxes = boxes.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 100), (0, -50, 200, 150)),
        ((100, 200), (-50, 0, 150, 200)),
        ((100, 101), (0, 0, 101, 101)),
        ((101, 104), (-1, 0, 103, 104)),
        ((7, 7), (0, 0, 7, 7)),
    ],
)
def test_unpad_box_of_the_whole_square(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert unpad_box((0, 0, 1, 1), size) == expected


@given(boxes, sizes)
def test_pad_box_undoes_unpad_box(box: tuple[float, ...], size: tuple[int, int]) -> None:
    assert pad_box(unpad_box(box, size), size) == pytest.approx(box, abs=1e-9)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_picture_without_pixels_has_no_boxes(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="no pixels"):
        unpad_box((0, 0, 1, 1), size)
    with pytest.raises(InputError, match="no pixels"):
        pad_box((0, 0, 1, 1), size)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),  # 4/14 with the + 1 of pixel counting
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 1, 1), (1, 1, 2, 2), 0),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0),
        ((0, 0, 1, 1), (5, 5, 6, 6), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0),
        ((2, 0, 0, 2), (0, 0, 2, 2), 0),
        ((-2, -2, 2, 2), (0, 0, 2, 2), 1 / 4),
    ],
)
def test_iou(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert iou(b, a) == pytest.approx(expected, abs=1e-12)


@given(ordered_boxes, ordered_boxes, st.floats(0.1, 100), st.floats(-10, 10))
def test_iou_does_not_change_with_scale_and_place(
    a: tuple[float, ...], b: tuple[float, ...], scale: float, shift: float
) -> None:
    assume(all(min(box[2] - box[0], box[3] - box[1]) > 1e-2 for box in (a, b)))
    moved = [[number * scale + shift for number in box] for box in (a, b)]
    assert 0 <= iou(a, b) <= 1
    assert iou(*moved) == pytest.approx(iou(a, b), abs=1e-6)


@given(st.lists(boxes, max_size=5), st.lists(boxes, max_size=5))
def test_pairwise_iou_holds_every_pair(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> None:
    table = pairwise_iou(np.array(first).reshape(-1, 4), np.array(second).reshape(-1, 4))
    assert table.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert table[i, j] == iou(a, b)


def test_more_pixels_than_memory_holds_are_refused_before_they_are_made() -> None:
    many = [{"x": number, "y": 0, "width": 9, "height": 9} for number in range(1000)]
    begin = time.process_time()
    for make in (
        lambda: box_masks(many, (4000, 4000)),
        lambda: plan_crops([many], (4000, 4000), CropOptions(resize="longer side", size=8192)),
        lambda: to_segs(many, (4000, 4000), crop_factor=1000),
    ):
        with pytest.raises(InputError, match=r"pixels together, and 1073741824 are the most\. Keep fewer boxes"):
            make()
    assert time.process_time() - begin < 1

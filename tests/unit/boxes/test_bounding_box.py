from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from box_strategies import batches
from hypothesis import given

from iaa_runtime.boxes.bounding_box import (
    SIDES,
    as_boxes,
    boxes_per_image,
    corners,
    described,
    fitted,
    from_corners,
    label_of,
    score_of,
    shown,
)
from iaa_runtime.boxes.crops import CropOptions, plan_crops
from iaa_runtime.boxes.geometry import pixel_rectangle
from iaa_runtime.boxes.masks import union_masks
from iaa_runtime.boxes.segs import to_segs
from iaa_runtime.errors import Cancelled, InputError

BOX = {"x": 1, "y": 2, "width": 3, "height": 4}


@given(batches())
def test_nested_boxes_are_read_as_they_are(batch: tuple[Any, list[list[dict[str, Any]]]]) -> None:
    assert as_boxes(batch[1]) == batch[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (BOX, [[BOX]]),
        ([BOX, BOX], [[BOX, BOX]]),
        ((BOX,), [[BOX]]),
        ([], [[]]),
        ([[]], [[]]),
        ([[], [BOX], []], [[], [BOX], []]),
        ([(BOX,), []], [[BOX], []]),
        ({**BOX, "x": np.float32(1.5), "y": np.int64(2)}, [[{**BOX, "x": 1.5}]]),
    ],
)
def test_shapes_in_use(value: object, expected: object) -> None:
    assert as_boxes(value) == expected


def test_what_is_read_is_new() -> None:
    mine = [[{**BOX, "label": "cat"}]]
    as_boxes(mine)[0][0]["label"] = "dog"
    as_boxes(mine)[0].clear()
    assert mine == [[{**BOX, "label": "cat"}]]


def test_numbers_become_pythons() -> None:
    box = as_boxes({"x": np.float32(1), "y": np.int32(2), "width": np.float64(3), "height": 4})[0][0]
    assert [type(box[side]) for side in ("x", "y", "width", "height")] == [float, int, float, int]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "a NoneType came"),
        ("boxes", "a str came"),
        ([(1, 2, 3, 4)], "IAA Convert Boxes"),
        ([[1, 2, 3, 4]], "Item 1"),
        ([BOX, [BOX]], "Item 1"),
        ([[BOX], BOX], "Item 2"),
        ([[BOX], [BOX, {"x": 1}]], "'y' of box 2 of image 2"),
        ([BOX, {**BOX, "height": "4"}], "'height' of box 2"),
        ({**BOX, "x": float("nan")}, "'x' of the box"),
        ({**BOX, "width": float("inf")}, "not a finite number"),
        ({**BOX, "x": True}, "not a finite number"),
        ({**BOX, "x": 10**400}, "not a finite number"),
        ({**BOX, "score": float("nan")}, "'score' of the box, .*, is not a finite number"),
        ([{**BOX, "score": float("-inf")}], "'score' of box 1, .*, is not a finite number"),
        ({**BOX, "score": 10**400}, "'score' of the box, .*, is not a finite number"),
        ({**BOX, "score": 5}, r"'score' of the box, .*, is not in 0..1"),
        ([{**BOX, "score": -0.1}], r"'score' of box 1, .*, is not in 0..1"),
        ({**BOX, "score": "0.9"}, "'score' of the box, .*, is not a finite number"),
        ({**BOX, "score": True}, "'score' of the box, .*, is not a finite number"),
        ({**BOX, "width": -1}, "negative"),
        ({**BOX, "x": 10**9 + 1}, "at most 1000000000"),
        ({**BOX, "x": 10**5000}, "not a finite number"),
        ({**BOX, "x": 1j}, "not a finite number"),
        ({**BOX, "x": np.array([1, 2])}, "not a finite number"),
        ({**BOX, "label": {"a": 1}}, "'label' of the box, .*, is not text"),
        ({**BOX, "label": True}, "'label' of the box"),
        ({1: 2}, "'x' of the box"),
    ],
)
def test_what_is_not_boxes(value: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        as_boxes(value)


def test_one_list_serves_every_image() -> None:
    boxes = boxes_per_image(BOX, 3)
    assert boxes == [[BOX]] * 3
    boxes[0][0]["x"] = 9
    assert boxes[1] == [BOX]


def test_boxes_are_counted_before_they_are_made() -> None:
    with pytest.raises(InputError, match="There are 100001 boxes"):
        as_boxes([BOX] * 100_001)
    with pytest.raises(InputError, match="There are 4096000 boxes"):
        boxes_per_image([[BOX] * 1000], 4096)


def test_numbers_of_images_must_agree() -> None:
    assert boxes_per_image([[BOX], []], 2) == [[BOX], []]
    with pytest.raises(InputError, match="boxes for 2 images, but 3 images"):
        boxes_per_image([[BOX], []], 3)


@given(batches(whole=True))
def test_corners_and_back(batch: tuple[Any, list[list[dict[str, Any]]]]) -> None:
    for boxes in batch[1]:
        for box in boxes:
            x1, y1, x2, y2 = corners(box)
            assert from_corners((x1, y1, x2, y2), box) == box
            assert from_corners((x2, y2, x1, y1), box) == box


def test_a_score_that_rounding_left_above_one_is_one() -> None:
    ((box,),) = as_boxes({**BOX, "score": torch.tensor(1, dtype=torch.float32).nextafter(torch.tensor(2.0))})
    assert box["score"] == 1


def test_labels_and_scores_of_boxes_by_others() -> None:
    assert label_of({**BOX, "metadata": {"desc": "drawn by hand"}}) == "drawn by hand"
    assert label_of({**BOX, "label": "", "metadata": {"desc": "x"}}) == ""
    assert label_of({**BOX, "metadata": None}) == label_of(BOX) == ""
    assert (score_of(BOX), score_of({**BOX, "score": None}), score_of({**BOX, "score": 0})) == (1, 1, 0)


def test_labels_are_put_where_the_editor_looks() -> None:
    assert label_of({"metadata": described({**BOX, "label": "cat"})["metadata"]}) == "cat"
    for box in (BOX, {**BOX, "label": ""}, {**BOX, "label": "cat", "metadata": {"desc": "dog"}}):
        assert described(box) == box


def test_numbers_of_torch_and_labels_that_are_numbers_are_taken() -> None:
    ((box,),) = as_boxes({**BOX, "x": torch.tensor(3.5), "score": torch.tensor(0.5), "label": 7})
    assert (box["x"], box["score"], label_of(box)) == (3.5, 0.5, "7")
    assert as_boxes({**BOX, "label": "a\ud800"}) == [[{**BOX, "label": "a?"}]], "which no file could hold"


@given(batches())
def test_what_an_image_shows_has_pixels_of_it(batch: tuple[Any, list[list[dict[str, Any]]]]) -> None:
    size, boxes = batch
    kept = boxes_per_image(boxes, len(boxes), size)
    for found, visible in zip(boxes, kept, strict=True):
        assert visible == [box for box in found if union_masks([[box]], size).any()]
        assert len(plan_crops([found], size, CropOptions()).items) == len(visible)
        assert len(to_segs(found, size, drop_size=0)[1]) == len(visible)


@pytest.mark.parametrize("size", [10**7, 200_000])
def test_large_and_deep_values_are_written_short_and_at_once(size: int) -> None:
    deep: Any = []
    for _ in range(size // 100):
        deep = [deep]
    begin = time.process_time()
    for value in ("x" * size, [0] * size, deep, {"a": deep}, [[BOX] * 10, deep]):
        with pytest.raises(InputError) as caught:
            as_boxes(value)
        assert len(str(caught.value)) < 400
    assert time.process_time() - begin < 1


@given(batches())
def test_fitted_boxes_lie_in_the_picture_and_are_a_pixel_at_least(batch: tuple[tuple[int, int], Any]) -> None:
    (width, height), boxes = batch
    for found in boxes:
        fit = fitted(found, (width, height))
        assert len(fit) == len(shown(found, (width, height)))
        for box, before in zip(fit, shown(found, (width, height)), strict=True):
            x1, y1, x2, y2 = corners(box)
            assert 0 <= x1 <= x2 - 1 + 1e-9 and x2 <= width + 1e-9 and 0 <= y1 <= y2 - 1 + 1e-9 and y2 <= height + 1e-9
            assert pixel_rectangle(corners(box), (width, height)) == pixel_rectangle(corners(before), (width, height))
            assert {key: box[key] for key in box if key not in SIDES} == {
                k: v for k, v in before.items() if k not in SIDES
            }


def test_boxes_that_fit_stay_as_they_are() -> None:
    boxes = [{"x": 0.1, "y": 0.2, "width": 1.7, "height": 1}, {"x": 5, "y": 5, "width": 5, "height": 5, "label": "a"}]
    assert fitted(boxes, (10, 10)) == boxes
    assert fitted([{"x": 9.6, "y": -5, "width": 20, "height": 5.5}], (10, 10)) == [
        {"x": 9, "y": 0, "width": 1, "height": 1}
    ]


@pytest.mark.parametrize("value", [[[BOX] * 9], [[BOX] * 4, [BOX] * 5], [BOX] * 9])
def test_checking_can_be_cancelled_between_any_two_boxes(value: Any) -> None:
    for last in range(9):
        asked = iter(range(10))
        with pytest.raises(Cancelled):
            as_boxes(value, lambda asked=asked, last=last: next(asked) == last)
    assert sum(map(len, as_boxes(value, lambda: False))) == 9

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from box_strategies import SIZES, any_boxes, batches, pixel_boxes
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.boxes.bounding_box import from_corners
from iaa_runtime.boxes.masks import box_in, box_masks, union_masks
from iaa_runtime.errors import InputError
from iaa_runtime.images.draw import detections_mask

SHAPES = st.sampled_from(["rectangle", "ellipse"])


@given(batches(whole=True))
def test_masks_agree_with_boxes(batch: tuple[tuple[int, int], list[list[dict[str, Any]]]]) -> None:
    size, boxes = batch
    for mask, found in zip(union_masks(boxes, size), boxes, strict=True):
        assert mask.dtype == torch.float32 and mask.shape == (size[1], size[0])
        sides = [(box["x"], box["y"], box["width"], box["height"]) for box in found]
        drawn = detections_mask(size, [Detection(*side, "", 0.0) for side in sides])
        assert torch.equal(mask, torch.from_numpy(np.array(drawn) / np.float32(255)))


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), st.lists(any_boxes(size), max_size=4))), SHAPES)
def test_the_union_is_the_largest_of_each(case: Any, shape: Any) -> None:
    size, boxes = case
    options: dict[str, Any] = {"shape": shape, "grow": 1.5, "feather": 3.0}
    single = box_masks(boxes, size, **options)
    assert single.shape == (len(boxes), size[1], size[0])
    union = single.amax(dim=0) if boxes else torch.zeros(size[1], size[0])
    assert torch.equal(union_masks([boxes], size, **options), union[None])
    assert single.numel() == 0 or (single.min() >= 0 and single.max() <= 1)


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), pixel_boxes(size))), st.integers(0, 30))
def test_grown_masks_are_those_of_larger_boxes(case: Any, pixels: int) -> None:
    size, box = case
    x1, y1 = max(box["x"] - pixels, 0), max(box["y"] - pixels, 0)
    x2, y2 = min(box["x"] + box["width"] + pixels, size[0]), min(box["y"] + box["height"] + pixels, size[1])
    larger = from_corners((x1, y1, x2, y2))
    assert torch.equal(box_masks([box], size, grow=pixels), box_masks([larger], size))
    if (x2 - x1, y2 - y1) == (box["width"] + 2 * pixels, box["height"] + 2 * pixels):
        assert torch.equal(box_masks([larger], size, grow=-pixels), box_masks([box], size))


def test_growing_in_percent_and_shrinking_to_nothing() -> None:
    box = {"x": 40, "y": 40, "width": 20, "height": 10}
    rows, columns = torch.nonzero(box_masks([box], (100, 100), grow=50, unit="percent")[0], as_tuple=True)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (30, 69, 35, 54)
    assert box_masks([box], (100, 100), grow=-4).sum() == 12 * 2
    assert box_masks([box], (100, 100), grow=-5).sum() == 0


@pytest.mark.parametrize("side", [{"x": 10}, {"y": 10}, {"x": -1}, {"width": 0, "x": 3.2}])
def test_boxes_outside_leave_the_mask_empty(side: dict[str, float]) -> None:
    box = {"x": 0, "y": 0, "width": 1, "height": 1, **side}
    assert box_masks([box], (10, 10)).sum() == 0


@pytest.mark.parametrize(
    "option", [{"shape": "sideways"}, {"shape": None}, {"unit": "miles"}, {"grow": float("nan")}, {"feather": 1e999}]
)
def test_an_option_that_does_not_exist_is_not_another(option: dict[str, Any]) -> None:
    for boxes in ([], [{"x": 1, "y": 1, "width": 5, "height": 5}]):
        with pytest.raises(InputError, match=r"There is no|finite"):
            box_masks(boxes, (9, 9), **option)
        with pytest.raises(InputError, match=r"There is no|finite"):
            union_masks([boxes], (9, 9), **option)


def test_a_sliver_is_one_pixel() -> None:
    assert box_masks([{"x": 3.1, "y": 3.1, "width": 0.2, "height": 0.2}], (10, 10)).sum() == 1


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), pixel_boxes(size))))
def test_an_ellipse_has_the_pixels_whose_centres_are_in_it(case: Any) -> None:
    size, box = case
    mask = box_masks([box], size, shape="ellipse")[0].numpy()
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    a, b = box["width"] / 2, box["height"] / 2
    level = ((x - box["x"] - a) / a) ** 2 + ((y - box["y"] - b) / b) ** 2
    clear = np.abs(level - 1) > 1e-4  # on the line itself, rounding decides
    assert np.array_equal(mask[clear] == 1, level[clear] < 1)


def test_edges_fade_half_inside_half_outside() -> None:
    row = box_masks([{"x": 20, "y": 20, "width": 40, "height": 40}], (100, 100), feather=10)[0, 40]
    assert torch.allclose(row[15:25], torch.arange(0.05, 1, 0.1))
    assert torch.allclose(row[55:65], torch.arange(0.05, 1, 0.1).flip(0))
    assert row[25:55].min() == 1 and row[:15].max() == 0 and row[65:].max() == 0


def test_the_border_of_the_image_stays_sharp() -> None:
    mask = box_masks([{"x": 0, "y": 0, "width": 50, "height": 50}], (100, 100), feather=20)[0]
    assert mask[:40, :40].min() == 1
    assert mask[0, 49] < 1
    assert box_masks([{"x": 0, "y": 0, "width": 9, "height": 9}], (9, 9), feather=9).min() == 1


def test_a_soft_ellipse_falls_outwards() -> None:
    mask = box_masks([{"x": 20, "y": 30, "width": 60, "height": 40}], (100, 100), shape="ellipse", feather=8)[0]
    for line in (mask[50, 50:], mask[50:, 50], mask.diagonal()[50:]):
        assert (line.diff() <= 0).all() and line[0] == 1 and line[-1] == 0
    assert mask[50, 79:81].mean() == pytest.approx(0.5, abs=0.01)  # the ellipse's own edge is half way


def test_a_soft_ellipse_is_exact_along_its_axes() -> None:
    box = {"x": 20, "y": 30, "width": 61, "height": 41}
    mask = box_masks([box], (100, 100), shape="ellipse", feather=20)[0]
    assert torch.allclose(mask[50, 71:91], torch.arange(0.975, 0, -0.05), atol=1e-5)
    assert torch.allclose(mask[61:81, 50], torch.arange(0.975, 0, -0.05), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"feather": 6}, {"shape": "ellipse"}, {"shape": "ellipse", "feather": 6}], ids=str
)
def test_large_masks_are_drawn_in_strips(options: dict[str, Any]) -> None:
    """Each pixel of a large mask is that of the same box drawn near the corner of a small one."""
    far = box_masks([{"x": 900, "y": 700, "width": 90, "height": 40}], (1100, 1000), **options)[0]
    near = box_masks([{"x": 20, "y": 20, "width": 90, "height": 40}], (130, 80), **options)[0]
    assert torch.allclose(far[680:760, 880:1010], near, atol=1e-6) and far.sum() == pytest.approx(near.sum())
    large = box_masks([{"x": 100, "y": 100, "width": 900, "height": 800}], (1100, 1000), **options)[0]
    assert torch.allclose(large, large.flip(0), atol=1e-5) and torch.allclose(large, large.flip(1), atol=1e-5)
    assert large[500, 550] == 1 and large[50, 50] == 0


def test_many_boxes_in_a_large_image_are_quick() -> None:
    boxes = [{"x": 37 * number % 4000, "y": 11 * number % 4000, "width": 40, "height": 30} for number in range(2000)]
    begin = time.process_time()
    mask = union_masks([boxes], (4096, 4096))
    union_masks([boxes], (4096, 4096), shape="ellipse", feather=5)
    assert time.process_time() - begin < 4, "looking at the whole image for each box took minutes"
    assert mask.sum() > 1_000_000


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), pixel_boxes(size))))
def test_a_box_in_a_window_of_its_own_fills_it(case: Any) -> None:
    size, box = case
    window = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
    assert box_masks([box_in(box, window, size)], size).min() == 1

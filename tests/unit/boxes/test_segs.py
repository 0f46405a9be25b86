"""SEGS as Impact Pack's own code takes them apart."""

from __future__ import annotations

import tracemalloc
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from box_strategies import batches, noise
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.bounding_box import score_of, shown
from iaa_runtime.boxes.masks import union_masks
from iaa_runtime.boxes.segs import Seg, from_segs, is_segs, segs_mask, segs_size, to_segs
from iaa_runtime.errors import InputError

BOX = {"x": 40, "y": 20, "width": 20, "height": 10, "label": "cat", "score": 0.5}
FIELDS = ("cropped_image", "cropped_mask", "confidence", "crop_region", "bbox", "label", "control_net_wrapper")


@given(batches(), st.floats(1, 5), st.integers(-12, 12))
def test_the_fields_fit_together(batch: tuple[tuple[int, int], Any], crop_factor: float, dilation: int) -> None:
    size, boxes = batch
    image = noise(0, 1, size)
    inside = shown(boxes[0], size)
    shape, segs = to_segs(boxes[0], size, crop_factor=crop_factor, dilation=dilation, drop_size=0, image=image)
    assert shape == (size[1], size[0]) and len(segs) == len(inside)
    for seg, box in zip(segs, inside, strict=True):
        assert seg._fields == FIELDS
        x1, y1, x2, y2 = seg.crop_region
        assert 0 <= x1 <= seg.bbox[0] < seg.bbox[2] <= x2 <= size[0]
        assert 0 <= y1 <= seg.bbox[1] < seg.bbox[3] <= y2 <= size[1]
        assert all(type(edge) is int for edge in (*seg.crop_region, *seg.bbox))
        assert seg.cropped_mask.shape == (y2 - y1, x2 - x1) and seg.cropped_mask.dtype == np.float32
        assert np.array_equal(seg.cropped_image, image[:, y1:y2, x1:x2].numpy())
        assert seg.confidence == score_of(box)


@given(batches(whole=True))
def test_together_they_are_the_mask_of_the_boxes(batch: tuple[tuple[int, int], Any]) -> None:
    size, boxes = batch
    assert torch.equal(segs_mask(to_segs(boxes[0], size, drop_size=0)), union_masks(boxes[:1], size)[0])


def test_crop_regions() -> None:
    def region(factor: float, **box: int) -> list[int]:
        return to_segs([{**BOX, **box}], (100, 60), crop_factor=factor)[1][0].crop_region  # type: ignore[no-any-return]

    assert region(1) == [40, 20, 60, 30]
    assert region(3) == [20, 10, 80, 40]
    assert region(3, x=75) == [40, 10, 100, 40]  # shifted inside
    assert region(100) == [0, 0, 100, 60]


@pytest.mark.parametrize(
    ("dilation", "left", "width", "height"),
    [(0, 20, 20, 10), (1, 20, 20, 10), (4, 19, 23, 13), (5, 18, 24, 14), (-4, 22, 17, 7), (-12, 0, 9, 0)],
)
def test_dilation_counts_as_a_kernel_of_opencv_does(dilation: int, left: int, width: int, height: int) -> None:
    mask = to_segs([BOX], (100, 60), dilation=dilation)[1][0].cropped_mask
    assert mask.sum() == width * height
    if mask.any():
        assert np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist() == [left, left + width - 1]


def test_small_boxes_are_dropped() -> None:
    assert len(to_segs([BOX], (100, 60), drop_size=9)[1]) == 1
    assert to_segs([BOX], (100, 60), drop_size=10)[1] == []


def test_a_hook_may_move_the_region() -> None:
    class Hook:
        def post_crop_region(self, w: int, h: int, bbox: list[int], region: list[int]) -> tuple[float, ...]:
            assert (w, h, bbox, region) == (100, 60, [40, 20, 60, 30], [20, 10, 80, 40])
            return 38.0, 18.0, 62.0, 32.0

    seg = to_segs([BOX], (100, 60), hook=Hook())[1][0]
    assert seg.crop_region == [38, 18, 62, 32] and seg.cropped_mask.shape == (14, 24)
    assert seg.cropped_mask.sum() == 200


def test_segs_by_others_are_read() -> None:
    theirs = namedtuple("SEG", FIELDS, defaults=[None])
    seg = theirs(None, np.zeros((4, 4)), np.array([0.75], np.float32), [0, 0, 4, 4], np.array([1, 2, 4, 6]), "face")
    read = from_segs(((10, 10), [seg, seg._replace(bbox=torch.tensor([1.0, 2, 4, 6]), confidence=1)]))
    assert read == [[{"x": 1, "y": 2, "width": 3, "height": 4, "label": "face", "score": s} for s in (0.75, 1.0)]]
    assert "score" not in from_segs(((10, 10), [seg._replace(confidence=None)]))[0][0], "none is made up"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bbox": None}, "bbox of SEG 1, None, is not four"),
        ({"bbox": [1, 2, 3]}, "not four finite numbers"),
        ({"bbox": "1234"}, "not four finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "not four finite numbers"),
        ({"bbox": [1, 2, 3, 10**400]}, "not four finite numbers"),
        ({"bbox": np.zeros((4, 4))}, "not four finite numbers"),
        ({"confidence": "high"}, "'score' of box 1"),
        ({"confidence": float("nan")}, "'score' of box 1"),
        ({"label": ["cat"]}, "'label' of box 1"),
    ],
    ids=str,
)
def test_segs_with_wrong_fields_are_refused(changes: dict[str, Any], says: str) -> None:
    seg = to_segs([BOX], (100, 60))[1][0]._replace(**changes)
    with pytest.raises(InputError, match=says):
        from_segs(((60, 100), [seg]))


@pytest.mark.parametrize(
    "size", [(0, 5), (5, -1), (10**6, 10**6), (10**400, 1), (10**5000, 1)], ids=lambda s: str(len(bin(s[0])))
)
def test_segs_of_no_image_are_refused(size: tuple[int, int]) -> None:
    assert segs_size(((60, 100), [])) == (100, 60)
    with pytest.raises(InputError, match="which no image is"):
        segs_size((size, []))


def test_what_segs_are() -> None:
    assert is_segs(to_segs([BOX], (100, 60))) and is_segs(((5, 5), [])) and is_segs([[5, 5], []])
    for other in ([], [[1, 2, 3, 4]], [(1, 2, 3, 4), (5, 6, 7, 8)], [[], []], [[BOX], [BOX]], None, ((5, 5), [BOX])):
        assert not is_segs(other)


def test_segs_can_be_changed_as_impact_does() -> None:
    seg = to_segs([BOX], (100, 60))[1][0]
    assert isinstance(seg, Seg) and seg._replace(label="dog").label == "dog"
    assert Seg(*seg[:6]).control_net_wrapper is None


def test_masks_that_nobody_looks_at_take_no_memory() -> None:
    box = {"x": 0, "y": 0, "width": 2000, "height": 2000}
    tracemalloc.start()
    try:
        (_, segs) = to_segs([box] * 10, (2000, 2000))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert all(isinstance(seg.cropped_mask, np.ndarray) and seg.cropped_mask.all() for seg in segs[:1])
    other = segs[0]._replace(cropped_mask=np.zeros((2, 2)), label="cat")
    assert other.cropped_mask.shape == (2, 2) and other.label == "cat" and not other.cropped_mask.any()
    assert segs[0]._replace(label="dog", bbox=[0, 0, 1, 1]).cropped_mask.all(), "the mask is that of the box it was"


def test_the_picture_is_copied_when_one_looks_and_is_nobodys_to_change() -> None:
    image = torch.rand(1, 2000, 2000, 3)
    box = {"x": 0, "y": 0, "width": 2000, "height": 2000}
    tracemalloc.start()
    try:
        (_, (first, *_)) = to_segs([box] * 100, (2000, 2000), image=image)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    before = image.clone()
    first.cropped_image[:] = 0
    assert torch.equal(image, before) and np.array_equal(first.cropped_image, before.numpy())
    assert first._replace(cropped_image=None).cropped_image is None

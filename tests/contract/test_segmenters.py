"""Segmenters that take boxes, run in ComfyUI's Python: their own code, without their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_server import run_inside

from iaa_runtime.boxes.convert import to_nested
from iaa_runtime.boxes.masks import union_masks
from iaa_runtime.boxes.points import box_points, points_json

INSIDE = Path(__file__).parent / "inside"
SIZE = (160, 120)
A = {"x": 8, "y": 16, "width": 64, "height": 72, "label": "left", "score": 0.75}
B = {"x": 80, "y": 40, "width": 64, "height": 72}


def agree(masks: np.ndarray, boxes: list[list[dict[str, Any]]]) -> bool:
    """Whether masks are those of the boxes, but for a pixel around their edges."""
    tight, loose = (union_masks(boxes, SIZE, grow=grow).numpy() for grow in (-1, 1))
    return bool(((masks >= tight) & (masks <= loose)).all())


@pytest.mark.parametrize(
    "boxes", [[[A, B], []], [[], [B]], [[], []], [[A], [B]]], ids=["first", "second", "none", "both"]
)
def test_sam3_detect(comfyui: Path, boxes: list[list[dict[str, Any]]]) -> None:
    given = {"width": SIZE[0], "height": SIZE[1], "count": 2, "boxes": boxes, "individual": False}
    masks = np.array(run_inside(comfyui, INSIDE / "sam3.py", json.dumps(given))) / 255
    assert masks.shape == (2, SIZE[1], SIZE[0]) and agree(masks, boxes)
    assert [mask.any() for mask in masks] == [bool(found) for found in boxes]


def test_sam3_detect_with_one_mask_per_box(comfyui: Path) -> None:
    given = {"width": SIZE[0], "height": SIZE[1], "count": 1, "boxes": [[A, B]], "individual": True}
    masks = np.array(run_inside(comfyui, INSIDE / "sam3.py", json.dumps(given))) / 255
    assert agree(masks, [[A], [B]])


@pytest.mark.parametrize("per_side", [1, 3])
@pytest.mark.parametrize("boxes", [[A], [A, B], []], ids=["one", "two", "none"])
def test_sam3_detect_with_points(comfyui: Path, boxes: list[dict[str, Any]], per_side: int) -> None:
    """It looks where the points are, and finds nothing where there are none."""
    given = {"width": SIZE[0], "height": SIZE[1], "count": 1, "points": points_json(boxes, per_side)}
    (mask,) = np.array(run_inside(comfyui, INSIDE / "sam3.py", json.dumps(given))) / 255
    points = [point for box in boxes for point in box_points(box, per_side)]
    squares = [{"x": p["x"] - 1, "y": p["y"] - 1, "width": 2, "height": 2} for p in points]
    assert agree(mask[None], [squares])
    assert mask.any() == bool(boxes) and not (mask > union_masks([boxes], SIZE)[0].numpy()).any()


@pytest.mark.parametrize("boxes", [[A], [A, B]], ids=["one", "two"])
def test_sam2_segmentation(comfyui: Path, packs: dict[str, Path], boxes: list[dict[str, Any]]) -> None:
    if "ComfyUI-segment-anything-2" not in packs:
        pytest.skip("NOT TESTED: ComfyUI-segment-anything-2 is not in ComfyUI's custom_nodes")
    pack = str(packs["ComfyUI-segment-anything-2"])
    given = {"pack": pack, "width": SIZE[0], "height": SIZE[1], "bbox": to_nested([boxes])}
    answer = run_inside(comfyui, INSIDE / "sam2.py", json.dumps(given))
    assert answer["asked"] == to_nested([boxes])
    assert np.array_equal(answer["mask"], union_masks([boxes], SIZE)[0].numpy())

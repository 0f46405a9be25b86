"""What the box nodes share: inputs of their schemas, units, and the preview of boxes over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.bounding_box import BoxDict, Boxes, boxes_per_image, corners, label_of, score_of, shown
from ..iaa_runtime.boxes.geometry import Unit, pixel_rectangle
from ..iaa_runtime.boxes.masks import box_masks
from .inputs import together
from .options import CATEGORY
from .previews import boxes_ui
from .values import pictures

BOX_CATEGORY = f"{CATEGORY}/boxes"
RegionsType = io.Custom("IAA_REGIONS")

EMPTY, ERROR = "empty", "error"
UNITS: dict[str, Unit] = {"pixels": "pixels", "% of the box": "percent"}
PIXELS = next(iter(UNITS))

SKIP = ExecutionBlocker(None)
"""An output that silently keeps ComfyUI from running what is connected to it."""


def box_input(name: str, optional: bool = False) -> io.Input:
    """An input for BOUNDING_BOX of any shape."""
    made = io.BoundingBox.Input(name, force_input=True, optional=optional)
    made.default = None  # ComfyUI's is a box of 512 x 512, which a socket without a widget cannot offer
    return made


def unit_input(name: str, default: str = PIXELS) -> io.Input:
    """The input for the unit of a length."""
    return io.Combo.Input(name, options=list(UNITS), default=default, optional=True)


def size_of(images: torch.Tensor) -> tuple[int, int]:
    """(width, height) of the images of a batch (B, H, W, C)."""
    return images.shape[2], images.shape[1]


def mask_per_box(boxes: Boxes, size: tuple[int, int], **options: Any) -> torch.Tensor:
    """(N, H, W) masks of N boxes, image after image; a black one where there are none. Options: ``box_masks``'s."""
    masks = box_masks([box for found in boxes for box in found], size, **options)
    return masks if len(masks) else torch.zeros(1, size[1], size[0])


def view(images: torch.Tensor | None, boxes: Boxes, cls: type[io.ComfyNode]) -> dict[str, list[Any]] | None:
    """The preview of boxes over their pictures, for the browser; None without pictures."""
    return None if images is None else view_of_all([images], boxes, cls)


def view_of_all(batches: Sequence[torch.Tensor], boxes: Boxes, cls: type[io.ComfyNode]) -> dict[str, list[Any]]:
    """The preview of boxes over the pictures of all batches, which may be of several sizes."""
    sizes = [size_of(images) for images in batches for _ in images]
    with together("bboxes", "image"):
        found = [shown(own, size) for own, size in zip(boxes_per_image(boxes, len(sizes)), sizes, strict=True)]
    detections = [[_detection(box, size) for box in own] for own, size in zip(found, sizes, strict=True)]
    return boxes_ui([picture for images in batches for picture in pictures(images)], detections, cls)


def count_of(boxes: Sequence[Sequence[BoxDict]]) -> int:
    """How many boxes there are in all images."""
    return sum(map(len, boxes))


def _detection(box: BoxDict, size: tuple[int, int]) -> Detection:
    return Detection.from_xyxy(pixel_rectangle(corners(box), size), label_of(box), score_of(box))

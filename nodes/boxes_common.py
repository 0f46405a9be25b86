"""What the box tools' schemas share, and boxes over their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.bounding_box import BoxDict, Boxes, boxes_per_image, label_of, score_of
from ..iaa_runtime.boxes.geometry import pixel_rectangle
from ..iaa_runtime.boxes.masks import Unit
from .options import CATEGORY
from .previews import boxes_ui
from .values import pictures

BOX_CATEGORY = f"{CATEGORY}/boxes"
RegionsType = io.Custom("IAA_REGIONS")

EMPTY, ERROR = "empty", "error"
UNITS: dict[str, Unit] = {"pixels": "pixels", "% of the box": "percent"}
PIXELS = next(iter(UNITS))

SKIP = ExecutionBlocker(None)
"""Instead of a value: what is connected to it is not run, and nobody is told off for it."""


def box_input(name: str, tooltip: str, optional: bool = False) -> io.Input:
    """A socket for BOUNDING_BOX of any shape."""
    made = io.BoundingBox.Input(name, force_input=True, optional=optional, tooltip=tooltip)
    made.default = None  # ComfyUI's is a box of 512 x 512, which a socket without a widget cannot offer
    return made


def view_input() -> io.Input:
    """The images to show boxes on."""
    return io.Image.Input(
        "image", optional=True, tooltip="The images that the boxes are of: connect them to see the boxes on the node."
    )


def unit_input(name: str, what: str) -> io.Input:
    """What a length counts in."""
    return io.Combo.Input(
        name,
        options=list(UNITS),
        default=PIXELS,
        optional=True,
        tooltip=f"Whether {what} is in pixels, or in hundredths of each box's own width and height.",
    )


def size_of(images: torch.Tensor) -> tuple[int, int]:
    """(width, height) of the images of a batch (B, H, W, C)."""
    return images.shape[2], images.shape[1]


def view(images: torch.Tensor | None, boxes: Boxes, cls: type[io.ComfyNode]) -> dict[str, list[Any]] | None:
    """Boxes over their pictures, for the browser; nothing without pictures."""
    if images is None:
        return None
    shown = boxes_per_image(boxes, len(images))
    return boxes_ui(pictures(images), [[_detection(box, size_of(images)) for box in found] for found in shown], cls)


def first_of(value: Any) -> Any:
    """A widget's value out of the list that it comes in; its default comes without one."""
    return value[0] if isinstance(value, (list, tuple)) else value


def count_of(boxes: Sequence[Sequence[BoxDict]]) -> int:
    """How many boxes there are in all images."""
    return sum(map(len, boxes))


def _detection(box: BoxDict, size: tuple[int, int]) -> Detection:
    left, top, right, bottom = pixel_rectangle(box, size)
    return Detection(left, top, right - left, bottom - top, label_of(box), score_of(box))

"""ComfyUI's values and ours: IMAGE and MASK tensors, BOUNDING_BOX dicts. Pure functions.

Symbols: B images, H and W their height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.draw import detections_mask, draw_detections
from ..iaa_runtime.images.load import to_pil

BoundingBoxes = list[list[dict[str, Any]]]
"""One list of boxes per image, as ComfyUI's detectors give them."""


def pictures(images: Tensor) -> list[Image.Image]:
    """IMAGE (B, H, W, 1 to 4 channels) float in [0, 1] -> one RGB picture each.

    Raises:
        InputError: the batch is empty.
    """
    if not len(images):
        raise InputError("The image batch is empty. Connect at least one image.")
    return [to_pil(image) for image in images]


def image_batch(items: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size -> IMAGE (B, H, W, 3) float32 in [0, 1]."""
    return torch.stack([torch.from_numpy(np.array(item)).float() / 255 for item in items])


def bounding_box(detection: Detection) -> dict[str, Any]:
    """A detection as a BOUNDING_BOX: pixels, with what core's box nodes read (``metadata.desc``) beside it."""
    metadata = {"type": "obj", "text": "", "desc": detection.label, "palette": []}
    return {**detection.to_dict(), "metadata": metadata}


def bounding_boxes(found: Sequence[Sequence[Detection]]) -> BoundingBoxes:
    """Detections per image -> BOUNDING_BOX per image; an image without any keeps its empty list."""
    return [[bounding_box(detection) for detection in detections] for detections in found]


def union_masks(images: Sequence[Image.Image], found: Sequence[Sequence[Detection]]) -> Tensor:
    """MASK (B, H, W) float32: 1 inside any box of the image, 0 elsewhere."""
    masks = [detections_mask(image.size, list(boxes)) for image, boxes in zip(images, found, strict=True)]
    return torch.stack([torch.from_numpy(np.array(mask)).float() / 255 for mask in masks])


def annotated(images: Sequence[Image.Image], found: Sequence[Sequence[Detection]]) -> Tensor:
    """IMAGE (B, H, W, 3): the pictures with boxes, labels and scores drawn on them."""
    return image_batch([draw_detections(i, list(boxes)) for i, boxes in zip(images, found, strict=True)])

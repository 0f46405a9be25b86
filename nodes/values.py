"""Converts between ComfyUI's values (IMAGE and MASK tensors, BOUNDING_BOX dicts) and the runtime's.

Symbols: B images, H and W their height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.bounding_box import Boxes, editor_metadata
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.draw import draw_detections
from ..iaa_runtime.images.load import to_pil


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


def bounding_boxes(found: Sequence[Sequence[Detection]]) -> Boxes:
    """Detections per image -> BOUNDING_BOX per image in pixels, with labels where core's box nodes look for them."""
    return [[{**d.to_dict(), **editor_metadata(d.label)} for d in detections] for detections in found]


def annotated(images: Sequence[Image.Image], found: Sequence[Sequence[Detection]]) -> Tensor:
    """IMAGE (B, H, W, 3): the pictures with boxes, labels and scores drawn on them."""
    return image_batch([draw_detections(i, boxes) for i, boxes in zip(images, found, strict=True)])

"""Converts between ComfyUI's values (IMAGE and MASK tensors, BOUNDING_BOX dicts) and the runtime's.

Symbols: B images, H and W their height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.bounding_box import Boxes, editor_metadata
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.draw import draw_detections
from ..iaa_runtime.images.picture import ArrayPicture, Picture
from ..iaa_runtime.images.strips import strips
from .host import check_interrupt


def pictures(images: Tensor) -> list[ArrayPicture]:
    """IMAGE (B, H, W, 1, 3 or 4 channels) float in [0, 1] -> one picture each, converted where it is looked at.

    Raises:
        InputError: the batch is empty, or holds no pictures.
    """
    if not len(images):
        raise InputError("The image batch is empty. Connect at least one image.")
    try:
        return [ArrayPicture(image) for image in images]
    except InputError as error:
        raise InputError(f"'image' cannot be looked at. {error}") from None


def lines(text: str) -> list[str]:
    """The lines of a text without blank ones and without blanks around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def image_batch(items: Iterable[Image.Image], count: int, size: tuple[int, int]) -> Tensor:
    """``count`` RGB pictures of one size (width, height) -> IMAGE (B, H, W, 3) float32 in [0, 1].

    One picture at a time is asked for, and none is held in floats twice.
    """
    batch = torch.empty(count, size[1], size[0], 3)
    for item, image in zip(items, batch, strict=True):
        for box in strips(size, check_interrupt):
            np.divide(np.asarray(item.crop(box)), np.float32(255), out=image[box[1] : box[3]].numpy())
    return batch


def bounding_boxes(found: Sequence[Sequence[Detection]]) -> Boxes:
    """Detections per image -> BOUNDING_BOX per image in pixels, with labels where core's box nodes look for them."""
    return [[{**d.to_dict(), **editor_metadata(d.label)} for d in detections] for detections in found]


def annotated(images: Sequence[Picture], found: Sequence[Sequence[Detection]]) -> Tensor:
    """IMAGE (B, H, W, 3): the pictures of one size with boxes, labels and scores drawn on them."""
    drawn = (draw_detections(image, boxes, check_interrupt) for image, boxes in zip(images, found, strict=True))
    return image_batch(drawn, len(images), images[0].size)

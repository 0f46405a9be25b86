"""What callers give, one or several of it: pictures and phrases, as a list with an item an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..boxes.answers import Detection
from ..errors import InputError
from ..images.load import AnyImage, to_picture
from ..images.picture import Picture
from ..text.texts import several, texts

Images = AnyImage | Sequence[AnyImage]
Phrases = str | Sequence[str | Sequence[str]]
"""What to look for: one phrase or several, in every image; or a list of them, or one alone, an image."""


def phrases_of_each(phrases: Phrases, count: int) -> list[list[str]]:
    """The phrases of each of ``count`` images; raises :class:`InputError` for what are none, or not one list each."""
    wanted = several(phrases)
    if not wanted and count:
        raise InputError("There is no phrase to look for. Give at least one.")
    lists = [texts(own, "A phrase") for own in wanted]
    if all(isinstance(own, str) for own in wanted):
        return [wanted] * count
    return _one_each(lists, count, "lists of phrases")


def text_of_each(given: str | Sequence[str], count: int, what: str) -> list[str]:
    """One text for all of ``count`` images, or one an image; ``what`` it is, such as ``"prompt"``, is in errors.

    Raises:
        InputError: it is neither.
    """
    each = texts(given, f"A {what}")
    return each * count if isinstance(given, str) else _one_each(each, count, f"{what}s")


def _one_each(given: list[Any], count: int, what: str) -> list[Any]:
    """What is given for each of ``count`` images; raises :class:`InputError` for another number."""
    if len(given) != count:
        raise InputError(f"There are {len(given)} {what} for {count} images. Give one for all, or one an image.")
    return given


def plain_boxes(boxes: Any) -> Any:
    """Boxes with detections among them, as ComfyUI's dicts alone; what is none of these is left to be refused."""
    if isinstance(boxes, (list, tuple)):
        return [plain_boxes(box) for box in boxes]
    return boxes.to_dict() if isinstance(boxes, Detection) else boxes


def as_list(images: Images) -> list[AnyImage]:
    """Each image; files, which can be read but once, as pictures."""
    given: Any = images
    batch = isinstance(given, (np.ndarray, torch.Tensor)) and given.ndim == 4
    each = list(given) if batch or isinstance(given, (list, tuple)) else [given]
    return [to_picture(image) if hasattr(image, "read") else image for image in each]


def as_pictures(images: Images) -> list[Picture]:
    """Each image, opened."""
    return [to_picture(image) for image in as_list(images)]

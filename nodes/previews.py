"""What our nodes show in the browser: the ``ui`` payloads that ``web/js`` draws, in plain lists as ComfyUI wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io, ui

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.images.draw import label_colors
from ..iaa_runtime.images.picture import Picture
from ..iaa_runtime.images.preprocess import bounded
from .host import check_interrupt
from .values import image_batch

LARGEST = 2048
"""Longest side of a picture in a preview: ComfyUI's PNG of 8192 x 8192 takes seconds in which Cancel is not heard."""


def boxes_ui(
    images: Sequence[Picture], found: Sequence[Sequence[Detection]], cls: type[io.ComfyNode]
) -> dict[str, list[Any]]:
    """Pictures and the boxes over them: per image a saved picture in ``iaa_images`` and a list in ``iaa_boxes``.

    Large pictures are saved smaller; ``width`` and ``height`` are those that the boxes are in.
    """
    saved: list[dict[str, Any]] = []
    for image in images:
        small = bounded(image, LARGEST, check_interrupt)
        (place,) = ui.PreviewImage(image_batch([small], 1, small.size), cls=cls).as_dict()["images"]
        saved.append({**place, "width": image.width, "height": image.height})
    return {"iaa_images": saved, "iaa_boxes": [_coloured(boxes) for boxes in found]}


def texts_ui(texts: Sequence[str]) -> dict[str, list[str]]:
    """Captions or an answer, in ``text`` too, where other programs look for them."""
    return {"iaa_texts": list(texts), "text": list(texts)}


def _coloured(detections: Sequence[Detection]) -> list[dict[str, Any]]:
    colors = label_colors(detection.label for detection in detections)
    return [{**d.to_dict(), "color": "#" + bytes(colors[d.label]).hex()} for d in detections]

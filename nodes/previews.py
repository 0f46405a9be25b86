"""What our nodes show in the browser: the ``ui`` payloads, in plain lists as ComfyUI wants.

ComfyUI takes every file that a list names for a result, and shows it in apps, in the queue and among the assets. So
``images`` and ``files`` are what is to be seen there; our own views (``web/js``) draw from the ``iaa_`` keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from comfy_api.latest import io, ui

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.images.draw import draw_detections, label_colors
from ..iaa_runtime.images.picture import Picture
from ..iaa_runtime.images.preprocess import bounded
from .host import check_interrupt, temporary_folder
from .values import image_batch

LARGEST = 2048
"""Longest side of a picture in a preview: ComfyUI's PNG of 8192 x 8192 takes seconds in which Cancel is not heard."""
MOST_SHOWN = 64
"""Pictures of a batch in a preview: nobody turns through all frames of a video, whose files would fill the disk."""


def boxes_ui(
    images: Sequence[Picture],
    found: Sequence[Sequence[Detection]],
    cls: type[io.ComfyNode],
    drawn: Iterable[Picture] | None = None,
) -> dict[str, list[Any]]:
    """Pictures and the boxes over them.

    Per image: in ``iaa_boxes`` a list of its boxes; and for the first ``MOST_SHOWN`` of a batch in ``images`` a saved
    picture with the boxes drawn on it, in ``iaa_images`` a list of one, the plain picture (within another list ComfyUI
    does not take it for a result). Large pictures are saved smaller; ``width`` and ``height`` are those that the boxes
    are in.

    Args:
        drawn: the pictures with their boxes, if they are drawn already.
    """
    drawn = drawn or (
        draw_detections(image, boxes, check_interrupt) for image, boxes in zip(images, found, strict=True)
    )
    plain = [_saved(image, cls) for image in images[:MOST_SHOWN]]
    # Not strict: what is drawn is drawn one by one, and only as far as it is shown.
    marked = [_saved(image, cls) if boxes else place for place, image, boxes in zip(plain, drawn, found, strict=False)]
    sizes = [{"width": image.width, "height": image.height} for image in images[:MOST_SHOWN]]
    return {
        "images": marked,
        "iaa_images": [[place | size] for place, size in zip(plain, sizes, strict=True)],
        "iaa_boxes": [_coloured(boxes) for boxes in found],
    }


def pictures_ui(images: Iterable[Picture], cls: type[io.ComfyNode]) -> dict[str, list[Any]]:
    """Pictures alone."""
    return {"images": [_saved(image, cls) for image in images]}


def texts_ui(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Captions or an answer: in ``text`` too, where other programs look for them, and as a file, which apps show."""
    return {"iaa_texts": list(texts), "text": list(texts), "files": [_saved_text("\n\n".join(texts))]}


def _saved(image: Picture, cls: type[io.ComfyNode]) -> dict[str, Any]:
    """Where ComfyUI serves a picture."""
    small = bounded(image, LARGEST, check_interrupt)
    (place,) = ui.PreviewImage(image_batch([small], 1, small.size), cls=cls).as_dict()["images"]
    return dict(place)


def _saved_text(text: str) -> dict[str, str]:
    """Where ComfyUI serves a text."""
    folder, name = temporary_folder(), f"text_{uuid.uuid4().hex[:12]}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return {"filename": name, "subfolder": "", "type": "temp"}


def _coloured(detections: Sequence[Detection]) -> list[dict[str, Any]]:
    colors = label_colors(detection.label for detection in detections)
    return [{**d.to_dict(), "color": "#" + bytes(colors[d.label]).hex()} for d in detections]

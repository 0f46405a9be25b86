"""Converts boxes to the formats of other node packs, and back.

What a format cannot hold (labels, scores, fractions of a pixel, which image) is lost on the way. Sides survive in all
of them, to the pixel where a format has whole pixels.
"""

from __future__ import annotations

import json
import math

from ..errors import Cancel, InputError
from .bounding_box import (
    SIDES,
    BoxDict,
    Boxes,
    as_boxes,
    check_count,
    corners,
    editor_metadata,
    has_score,
    label_of,
    shortened,
)
from .geometry import Rectangle
from .reader import CONVENTIONS, Y_FIRST, Reader, Size, is_box, is_several, known_size, plain
from .segs import from_segs, is_segs
from .written import HINT, value_in

# To others ------------------------------------------------------------------------------------------------------------


def to_kjnodes(boxes: Boxes, order: str = "xywh") -> list[Rectangle]:
    """KJNodes' ``BBOX``: a flat list of tuples of whole pixels, images one after the other.

    Its crop nodes want ``xywh``, its points editor and ``ImageUncropByMask`` ``xyxy``.
    """
    edges = [_whole(box) for found in boxes for box in found]
    return edges if order == "xyxy" else [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in edges]


def to_nested(boxes: Boxes) -> list[list[list[float]]]:
    """``BBOX`` of the segment-anything-2 nodes and ``JSON`` of the Florence2 nodes: per image [[x1, y1, x2, y2], …]."""
    return [[list(corners(box)) for box in found] for found in boxes]


def to_layerstyle(boxes: Boxes) -> list[list[list[int]]]:
    """LayerStyle's ``BBOXES``: per image [[x1, y1, x2, y2], …] in whole pixels. One of them is its ``BOX``."""
    return [[list(_whole(box)) for box in found] for found in boxes]


def to_json(boxes: Boxes, convention: str = "xyxy", size: Size | None = None) -> str:
    """Text: per image a list of ``{"bbox": [four numbers], "label": …, "score": …, "x": …, "y": …, …}``.

    The named sides, in pixels, and the label once more as ``metadata`` are what ComfyUI's own nodes read.

    Args:
        boxes: One list per image.
        convention: One of ``CONVENTIONS``.
        size: (width, height) of the images, for 0-1 and 0-1000.
    """
    return json.dumps(
        [
            [
                {"bbox": _numbers(box, convention, size)}
                | ({"label": label_of(box)} if label_of(box) else {})
                | ({"score": float(box["score"])} if has_score(box) else {})
                | {side: box[side] for side in SIDES}
                | (editor_metadata(label_of(box)) if label_of(box) else {})
                for box in found
            ]
            for found in boxes
        ],
        ensure_ascii=False,
    )


def _whole(box: BoxDict) -> Rectangle:
    """The edges of a box to the nearest pixel, at least one pixel apart."""
    x1, y1, x2, y2 = (math.floor(edge + 0.5) for edge in corners(box))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _numbers(box: BoxDict, convention: str, size: Size | None) -> list[float]:
    """The four numbers of a box."""
    x1, y1, x2, y2 = corners(box)
    if convention == "xyxy":
        return [x1, y1, x2, y2]
    if convention == "xywh":
        return [box[side] for side in SIDES]
    width, height = known_size(convention, size)
    fractions = [x1 / width, y1 / height, x2 / width, y2 / height]
    if convention == "0-1":
        return fractions
    left, top, right, bottom = (round(1000 * number) for number in fractions)
    return [top, left, bottom, right] if convention == Y_FIRST else [left, top, right, bottom]


# From others ----------------------------------------------------------------------------------------------------------


def boxes_from(
    value: object,
    convention: str = "xyxy",
    size: Size | None = None,
    one_per_image: bool = False,
    cancelled: Cancel = None,
) -> Boxes:
    """Converts boxes from any usual format to ours.

    Args:
        value: ``BOUNDING_BOX``; numbers in lists, tuples, arrays or tensors, for one box, the boxes of one image or
            those of a batch; dicts that hold them under a name of ``SINGLE``, ``SEVERAL`` or ``EDGES``, labels and
            scores beside; elements of ComfyUI's box editor; ``SEGS``; or text with any of them
            (:func:`.written.value_in`). No text is no boxes.
        convention: One of ``CONVENTIONS``, for four numbers, and for the unit of ``EDGES``. ``x, y, width, height``
            are always in pixels and go before four numbers beside them; elements of the editor, ``box_2d`` and tags
            are always in thousandths, in their own order.
        size: (width, height) of the images, for all that is not in pixels.
        one_per_image: A list of boxes without lists in it holds one box of each image, as KJNodes' crop nodes make
            it; otherwise all of one image.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.

    Returns:
        One list per image, at least one. What is read is complete: nothing that is no box is left out.

    Raises:
        InputError: If it is none of these, or mixes boxes and lists of them, or the text holds no JSON, or that of
            several values, or there are more than ``MOST_BOXES``, or the size is needed and missing; or a dict holds
            boxes under two names, or fewer or more labels or scores than boxes.
    """
    if isinstance(value, str):
        value = value_in(value)
    elif is_segs(value):
        return from_segs(value)
    if convention not in CONVENTIONS:
        raise InputError(f"There is no convention {convention!r}. Choose one of: {', '.join(CONVENTIONS)}.")
    read = Reader(convention, size, cancelled)
    items = plain(value)
    if is_box(items):
        return as_boxes([read.box(items)])
    if is_several(items):
        return as_boxes(read.image(items))
    if not isinstance(items, (list, tuple)):
        raise InputError(f"Boxes were expected and a {type(value).__name__} came: {shortened(value)}. {HINT}")
    check_count(len(items))
    singles = [is_box(plain(item)) for item in items]
    if all(singles):
        boxes = [read.box(item) for item in items]
        return as_boxes([[box] for box in boxes] if one_per_image and boxes else boxes)
    if any(singles):
        raise InputError(
            f"{shortened(value)} mixes boxes and lists of boxes, so which image each is of cannot be told. Give a list "
            "of boxes, or one list an image."
        )
    return as_boxes([read.image(item) for item in items])

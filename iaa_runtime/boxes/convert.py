"""Converts boxes to the formats of other node packs, and back.

What a format cannot hold (labels, scores, fractions of a pixel, which image) is lost on the way. Sides survive in all
of them, to the pixel where a format has whole pixels, and to a thousandth of the image's side where it counts in
thousandths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from ..errors import InputError
from .bounding_box import SIDES, BoxDict, Boxes, as_boxes, corners, from_corners, label_of, shortened
from .segs import from_segs, is_segs

Size = tuple[int, int]

CONVENTIONS = ("xyxy", "xywh", "0-1", "0-1000")
"""What four numbers mean: two corners; corner, width, height; two corners as fractions of the image's width and height;
the same in thousandths. All in the order x, y."""

# To others ------------------------------------------------------------------------------------------------------------


def to_kjnodes(boxes: Boxes, order: str = "xywh") -> list[tuple[int, ...]]:
    """KJNodes' ``BBOX``: a flat list of tuples of whole pixels, images one after the other.

    Its crop nodes want ``xywh``, its points editor and ``ImageUncropByMask`` ``xyxy``.
    """
    return [tuple(round(number) for number in _numbers(box, order, None)) for found in boxes for box in found]


def to_nested(boxes: Boxes) -> list[list[list[float]]]:
    """``BBOX`` of the segment-anything-2 nodes and ``JSON`` of the Florence2 nodes: per image [[x1, y1, x2, y2], …]."""
    return [[list(corners(box)) for box in found] for found in boxes]


def to_layerstyle(boxes: Boxes) -> list[list[list[int]]]:
    """LayerStyle's ``BBOXES``: per image [[x1, y1, x2, y2], …] in whole pixels. One of them is its ``BOX``."""
    return [[[round(edge) for edge in corners(box)] for box in found] for found in boxes]


def to_json(boxes: Boxes, convention: str = "xyxy", size: Size | None = None) -> str:
    """Text: per image a list of ``{"bbox": [four numbers], "label": …, "score": …}``.

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
                | ({"score": float(box["score"])} if box.get("score") is not None else {})
                for box in found
            ]
            for found in boxes
        ],
        ensure_ascii=False,
    )


def _numbers(box: BoxDict, convention: str, size: Size | None) -> list[float]:
    """The four numbers of a box."""
    x1, y1, x2, y2 = corners(box)
    if convention == "xyxy":
        return [x1, y1, x2, y2]
    if convention == "xywh":
        return [box[side] for side in SIDES]
    width, height = _known(convention, size)
    fractions = [x1 / width, y1 / height, x2 / width, y2 / height]
    return fractions if convention == "0-1" else [round(1000 * number) for number in fractions]


# From others ----------------------------------------------------------------------------------------------------------


def boxes_from(value: object, convention: str = "xyxy", size: Size | None = None, one_per_image: bool = False) -> Boxes:
    """Converts boxes from any usual format to ours.

    Args:
        value: ``BOUNDING_BOX``; numbers in lists, tuples, arrays or tensors, for one box, the boxes of one image or
            those of a batch; dicts with ``bbox``, ``bbox_2d`` or ``box``, or with ``bboxes`` and ``labels``, or with
            ``detections``; ``SEGS``; or JSON text of any of them.
        convention: One of ``CONVENTIONS``, for four numbers. Named sides are always in pixels.
        size: (width, height) of the images, for 0-1 and 0-1000.
        one_per_image: A list of boxes without lists in it holds one box of each image, as KJNodes' crop nodes make
            it; otherwise all of one image.

    Returns:
        One list per image, at least one.

    Raises:
        InputError: If it is none of these, or JSON is not well-formed, or the size is needed and missing.
    """
    if isinstance(value, str):
        value = _from_json(value)
    if is_segs(value):
        return from_segs(value)

    def leaf(item: object) -> list[BoxDict] | None:
        return _boxes_of(item, convention, size)

    single = leaf(value)
    if single is not None:
        return as_boxes(single)
    items = _plain(value)
    if not isinstance(items, (list, tuple)):
        raise InputError(f"Boxes were expected and a {type(value).__name__} came: {shortened(value)}.")
    # A dict of several boxes stands for an image of its own; a box in a list of boxes for one box.
    if all(_is_box(item) for item in items):
        boxes = [box for item in items for box in leaf(item) or []]
        return as_boxes([[box] for box in boxes] if one_per_image and boxes else boxes)
    return as_boxes([_one_image(item, leaf) for item in items])


def _one_image(item: object, leaf: Callable[[object], list[BoxDict] | None]) -> list[BoxDict]:
    """The boxes of one image of a batch."""
    several = leaf(item)
    if several is not None:
        return several
    items = _plain(item)
    found = [leaf(box) for box in items] if isinstance(items, (list, tuple)) else [None]
    if any(boxes is None for boxes in found):
        raise InputError(
            f"{shortened(item)} holds something that is not a box: four numbers, or x, y, width and height."
        )
    return [box for boxes in found for box in boxes or []]


def _boxes_of(value: object, convention: str, size: Size | None) -> list[BoxDict] | None:
    """The boxes of four numbers or a mapping; None for a value that is neither."""
    value = _plain(value)
    if _is_four(value):
        return [_from_numbers(value, convention, size)]
    if not isinstance(value, Mapping):
        return None
    if all(side in value for side in SIDES):
        return [dict(value)]
    if "detections" in value:
        return [box for item in value["detections"] for box in _boxes_of(item, convention, size) or []]
    if "bboxes" in value:
        labels = [*(value.get("labels") or []), *[None] * len(value["bboxes"])]
        pairs = zip(value["bboxes"], labels, strict=False)
        return [_from_numbers(bbox, convention, size, {"label": label} if label else {}) for bbox, label in pairs]
    name = next((name for name in ("bbox", "bbox_2d", "box") if name in value), None)
    if name is None:
        raise InputError(f"{shortened(value)} has neither x, y, width and height nor a bbox.")
    more = {key: value[key] for key in ("label", "score") if value.get(key) is not None}
    return [_from_numbers(value[name], convention, size, more)]


def _from_numbers(value: object, convention: str, size: Size | None, more: Mapping[str, Any] | None = None) -> BoxDict:
    numbers = _plain(value)
    if not _is_four(numbers):
        raise InputError(f"{shortened(value)} is not a box of four numbers.")
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"The box {shortened(value)} has a number that is not finite.")
    a, b, c, d = numbers
    if convention == "xywh":
        return {**(more or {}), "x": a, "y": b, "width": c, "height": d}
    if convention in ("0-1", "0-1000"):
        width, height = (side / (1 if convention == "0-1" else 1000) for side in _known(convention, size))
        a, b, c, d = a * width, b * height, c * width, d * height
    elif convention != "xyxy":
        raise InputError(f"There is no convention {convention!r}. Choose one of: {', '.join(CONVENTIONS)}.")
    return from_corners((a, b, c, d), more)


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"The text is not JSON ({error}): {shortened(text)}.") from error


def _plain(value: object) -> Any:
    """Arrays and tensors as lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_four(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and all(isinstance(number, Real) and not isinstance(number, bool) for number in value)
    )


def _is_box(value: object) -> bool:
    value = _plain(value)
    several = isinstance(value, Mapping) and ("bboxes" in value or "detections" in value)
    return _is_four(value) or (isinstance(value, Mapping) and not several)


def _known(convention: str, size: Size | None) -> Size:
    if size is None:
        raise InputError(f"{convention} counts in parts of the image: connect the image, so that its size is known.")
    return size

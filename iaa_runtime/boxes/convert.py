"""Converts boxes to the formats of other node packs, and back.

What a format cannot hold (labels, scores, fractions of a pixel, which image) is lost on the way. Sides survive in all
of them, to the pixel where a format has whole pixels, and to a thousandth of the image's side where it counts in
thousandths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from ..errors import InputError
from .bounding_box import (
    LARGEST,
    MOST_BOXES,
    SIDES,
    BoxDict,
    Boxes,
    as_boxes,
    check_count,
    corners,
    editor_metadata,
    finite,
    from_corners,
    label_of,
    shortened,
)
from .geometry import Rectangle
from .segs import from_segs, is_segs
from .written import HINT, value_in

Size = tuple[int, int]

Y_FIRST = "0-1000, y first"
CONVENTIONS = ("xyxy", "xywh", "0-1", "0-1000", Y_FIRST)
"""What four numbers mean: two corners; corner, width, height; two corners as fractions of the image's width and height;
the same in thousandths; y1, x1, y2, x2 in thousandths."""

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
                | ({"score": float(box["score"])} if box.get("score") is not None else {})
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
    width, height = _known(convention, size)
    fractions = [x1 / width, y1 / height, x2 / width, y2 / height]
    if convention == "0-1":
        return fractions
    left, top, right, bottom = (round(1000 * number) for number in fractions)
    return [top, left, bottom, right] if convention == Y_FIRST else [left, top, right, bottom]


# From others ----------------------------------------------------------------------------------------------------------


def boxes_from(value: object, convention: str = "xyxy", size: Size | None = None, one_per_image: bool = False) -> Boxes:
    """Converts boxes from any usual format to ours.

    Args:
        value: ``BOUNDING_BOX``; numbers in lists, tuples, arrays or tensors, for one box, the boxes of one image or
            those of a batch; dicts that hold them under a name of ``_SINGLE``, ``_SEVERAL`` or ``_EDGES``, labels and
            scores beside; elements of ComfyUI's box editor; ``SEGS``; or text with any of them
            (:func:`.written.value_in`). No text is no boxes.
        convention: One of ``CONVENTIONS``, for four numbers, and for the unit of ``_EDGES``. ``x, y, width, height``
            are always in pixels and go before four numbers beside them; elements of the editor, ``box_2d`` and tags
            are always in thousandths, in their own order.
        size: (width, height) of the images, for all that is not in pixels.
        one_per_image: A list of boxes without lists in it holds one box of each image, as KJNodes' crop nodes make
            it; otherwise all of one image.

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
    read = _Reader(convention, size)
    items = _plain(value)
    if _is_box(items):
        return as_boxes([read.box(items)])
    if _is_several(items):
        return as_boxes(read.image(items))
    if not isinstance(items, (list, tuple)):
        raise InputError(f"Boxes were expected and a {type(value).__name__} came: {shortened(value)}. {HINT}")
    check_count(len(items))
    singles = [_is_box(_plain(item)) for item in items]
    if all(singles):
        boxes = [read.box(item) for item in items]
        return as_boxes([[box] for box in boxes] if one_per_image and boxes else boxes)
    if any(singles):
        raise InputError(
            f"{shortened(value)} mixes boxes and lists of boxes, so which image each is of cannot be told. Give a list "
            "of boxes, or one list an image."
        )
    return as_boxes([read.image(item) for item in items])


class _Reader:
    """Reads boxes by one convention of four numbers.

    Args:
        convention: One of ``CONVENTIONS``.
        size: (width, height) of the images, if it is known.
    """

    def __init__(self, convention: str, size: Size | None) -> None:
        self._convention, self._size = convention, size

    def image(self, value: object) -> list[BoxDict]:
        """The boxes of one image: a list of them, or a dict that holds them under a name of ``_SEVERAL``."""
        value = _plain(value)
        if not _is_several(value):
            return [
                box
                for item in _items(value, "a list of boxes")
                for box in (self.image(item) if _is_several(_plain(item)) else [self.box(item)])
            ]
        assert isinstance(value, Mapping)
        name = str(_form(value))
        found = _items(value[name], repr(name))
        columns = [_column(value, names, len(found)) for names in (("text_labels", "labels"), ("scores",))]
        return [
            {**_given({"label": label, "score": score}), **self.box(item)}
            for item, label, score in zip(found, *columns, strict=True)
        ]

    def box(self, value: object) -> BoxDict:
        """One box: four numbers, a dict of sides, or a dict with either in it."""
        value = _plain(value)
        if not isinstance(value, Mapping):
            return self._numbers(value)
        name = _form(value)
        if name == _OWN:
            return {key: said for key, said in value.items() if key not in _SINGLE}
        if name == "bbox" and str(value.get("type")) in _ELEMENTS and "desc" in value:
            return _Reader(Y_FIRST, self._size)._numbers(value[name], _element(value))
        more = _given({"label": _said(value, _LABELS), "score": _said(value, ("score", "confidence"))})
        if name in _EDGES:
            return self._edges(value, name, more)
        if name not in _SINGLE:
            raise InputError(f"{shortened(value)} has neither x, y, width and height nor a bbox. {HINT}")
        inside = _plain(value[name])
        if isinstance(inside, Mapping):
            return self._edges(inside, _form(inside), more)
        return (_Reader(Y_FIRST, self._size) if name == "box_2d" else self)._numbers(inside, more)

    def _numbers(self, value: object, more: Mapping[str, Any] | None = None) -> BoxDict:
        a, b, c, d = _four(value)
        if self._convention == "xywh":
            return {**(more or {}), "x": a, "y": b, "width": c, "height": d}
        return self._placed((b, a, d, c) if self._convention == Y_FIRST else (a, b, c, d), more)

    def _edges(self, value: Mapping[str, Any], name: str | None, more: Mapping[str, Any]) -> BoxDict:
        """A box whose sides have names; ``x, y, width, height`` are in pixels, others as the convention counts."""
        if name == _OWN:
            return {**more, **{side: value[side] for side in SIDES}}
        if name not in _EDGES:
            raise InputError(f"{shortened(value)} has neither x, y, width and height nor two corners. {HINT}")
        a, b, c, d = _four([value[edge] for edge in _EDGES[name]])
        return self._placed((a, b, a + c, b + d) if name.endswith(("h", "height")) else (a, b, c, d), more)

    def _placed(self, edges: Sequence[float], more: Mapping[str, Any] | None) -> BoxDict:
        """The box of two corners in the unit of the convention."""
        parts = {"0-1": 1, "0-1000": 1000, Y_FIRST: 1000}.get(self._convention)
        if parts is not None:
            width, height = (side / parts for side in _known(self._convention, self._size))
            edges = [edge * side for edge, side in zip(edges, (width, height) * 2, strict=True)]
        return from_corners(edges, more)


_SINGLE = ("bbox", "bbox_2d", "box", "box_2d", "bounding_box")
_SEVERAL = ("bboxes", "boxes", "bounding_boxes", "detections", "objects")
"""What a dict may hold one box under, or those of an image. ``box_2d``: as Gemini writes it."""
_OWN = "x, y, width, height"
_EDGES = {
    ", ".join(names): names
    for names in (
        ("x1", "y1", "x2", "y2"),
        ("xmin", "ymin", "xmax", "ymax"),
        ("x_min", "y_min", "x_max", "y_max"),
        ("left", "top", "right", "bottom"),
        ("x", "y", "w", "h"),
        ("left", "top", "width", "height"),
    )
}
"""Other names of a box's edges, or of its left and top edge, width and height."""
_LABELS = ("label", "name", "class_name", "class", "category", "object", "phrase", "text_content")
_ELEMENTS = ("obj", "text")
"""Types of the elements that ComfyUI's CreateBoundingBoxes makes: [ymin, xmin, ymax, xmax] in thousandths."""


def _element(value: Mapping[str, Any]) -> dict[str, Any]:
    """What an element says beside its place, as ComfyUI's editor keeps it."""
    said = {"text": value.get("text") or "", "palette": value.get("color_palette") or []}
    return {"label": value["desc"], "metadata": {"type": value["type"], **said, "desc": value["desc"]}}


def _said(value: Mapping[str, Any], names: Sequence[str]) -> Any:
    """What stands under the first of several names that holds a word or number; else what stands under the first."""
    return next((value[name] for name in names if isinstance(value.get(name), (str, Real))), value.get(names[0]))


def _items(value: object, what: str) -> Sequence[Any]:
    """The items of a list, array or tensor, none for null."""
    value = _plain(value)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{shortened(value)} came for {what}, which is not a box nor a list of them. {HINT}")
    check_count(len(value))
    return value


def _form(value: Mapping[str, Any]) -> str | None:
    """The one name under which a dict holds a box or boxes, None if it has none. Its own sides go before four numbers.

    Raises:
        InputError: it holds some under several names, which may say different things.
    """
    own = all(side in value for side in SIDES)
    names = [name for name in (*_SEVERAL, *(() if own else _SINGLE)) if name in value] + [_OWN] * own
    names += [name for name, edges in _EDGES.items() if all(edge in value for edge in edges)]
    if len(names) > 1:
        raise InputError(f"{shortened(value)} holds boxes under several names: {', '.join(names)}. Keep one of them.")
    return names[0] if names else None


def _column(value: Mapping[str, Any], names: Sequence[str], count: int) -> Sequence[Any]:
    """The labels or scores of ``count`` boxes, None if none is given; a single one is that of every box."""
    name = next((name for name in names if name in value), names[0])
    column = _plain(value.get(name))
    if column is None or isinstance(column, (str, Real)):
        return [column] * count
    column = _items(column, f"{name!r}")
    if len(column) not in (0, count) and count:
        raise InputError(
            f"There are {count} boxes and {len(column)} {name!r} in {shortened(value)}, so which belongs to which "
            "cannot be told. Give one for each box."
        )
    return column if len(column) == count else [None] * count


def _given(more: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: value for key, value in more.items() if value is not None and value != ""}


def _plain(value: object) -> Any:
    """Arrays and tensors as lists, and what Florence-2 says of a task, as ``{"<OD>": …}``, without the task.

    An array as large as a picture would fill the memory.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, inside),) = value.items()
        return inside if str(name).startswith("<") and isinstance(inside, Mapping) else value
    if not hasattr(value, "tolist"):
        return value
    try:
        shape = list(getattr(value, "shape", ()))
        if math.prod(shape) <= 4 * MOST_BOXES:
            return value.tolist()
    except (RuntimeError, TypeError):  # sparse tensors and their like
        raise InputError(f"The numbers of a {type(value).__name__} cannot be read. {HINT}") from None
    raise InputError(f"An array of shape {shape} came, which is more numbers than boxes have. {HINT}")


def _four(value: object) -> tuple[float, float, float, float]:
    numbers = _plain(value)
    if not _is_four(numbers):
        raise InputError(f"{shortened(value)} is not a box of four numbers. {HINT}")
    a, b, c, d = map(finite, numbers)
    if a is None or b is None or c is None or d is None:
        raise InputError(f"The box {shortened(value)} has a number that is not finite or above {LARGEST}. {HINT}")
    return a, b, c, d


def _is_four(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and all(isinstance(number, Real) and not isinstance(number, bool) for number in value)
    )


def _is_several(value: object) -> bool:
    """Whether it is a dict of all boxes of an image."""
    return isinstance(value, Mapping) and any(name in value for name in _SEVERAL)


def _is_box(value: object) -> bool:
    return _is_four(value) or (isinstance(value, Mapping) and not _is_several(value))


def _known(convention: str, size: Size | None) -> Size:
    if size is None:
        raise InputError(f"{convention} counts in parts of the image: connect the image, so that its size is known.")
    return size

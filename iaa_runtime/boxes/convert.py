"""Converts boxes to the formats of other node packs, and back.

What a format cannot hold (labels, scores, fractions of a pixel, which image) is lost on the way. Sides survive in all
of them, to the pixel where a format has whole pixels, and to a thousandth of the image's side where it counts in
thousandths.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
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
    finite,
    from_corners,
    label_of,
    shortened,
)
from .segs import from_segs, is_segs

Size = tuple[int, int]

CONVENTIONS = ("xyxy", "xywh", "0-1", "0-1000")
"""What four numbers mean: two corners; corner, width, height; two corners as fractions of the image's width and height;
the same in thousandths. All in the order x, y."""

LONGEST_TEXT = 100 * MOST_BOXES
"""Characters of a text with boxes."""

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
            those of a batch; dicts with ``bbox``, ``bbox_2d`` or ``box``, or with ``bboxes``, ``labels`` and
            ``scores``, or with ``detections``; elements of ComfyUI's box editor; ``SEGS``; or text with JSON of any of
            them, prose around it or not. No text is no boxes.
        convention: One of ``CONVENTIONS``, for four numbers. Named sides are always in pixels, and elements of the
            editor in its own order.
        size: (width, height) of the images, for 0-1, 0-1000 and elements.
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
        value = json_in(value)
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
        raise InputError(f"Boxes were expected and a {type(value).__name__} came: {shortened(value)}. {_HINT}")
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
        """The boxes of one image: a list of them, or a dict with ``detections`` or ``bboxes``."""
        value = _plain(value)
        if not _is_several(value):
            return [
                box
                for item in _items(value, "a list of boxes")
                for box in (self.image(item) if _is_several(item) else [self.box(item)])
            ]
        assert isinstance(value, Mapping)
        if _form(value) == "detections":
            return [self.box(item) for item in _items(value["detections"], "'detections'")]
        found = _items(value["bboxes"], "'bboxes'")
        columns = [_column(value, name, len(found)) for name in ("labels", "scores")]
        return [
            self._numbers(numbers, _given({"label": label, "score": score}))
            for numbers, label, score in zip(found, *columns, strict=True)
        ]

    def box(self, value: object) -> BoxDict:
        """One box: four numbers, a dict of sides, or a dict with four numbers in it."""
        value = _plain(value)
        if not isinstance(value, Mapping):
            return self._numbers(value)
        name = _form(value)
        if name == _OWN:
            return dict(value)
        if name not in _SINGLE:
            raise InputError(f"{shortened(value)} has neither x, y, width and height nor a bbox. {_HINT}")
        if name == "bbox" and str(value.get("type")) in _ELEMENTS and "desc" in value:
            y1, x1, y2, x2 = _four(value[name])
            return _Reader("0-1000", self._size)._numbers((x1, y1, x2, y2), {"label": value["desc"]})
        return self._numbers(value[name], _given({key: value.get(key) for key in ("label", "score")}))

    def _numbers(self, value: object, more: Mapping[str, Any] | None = None) -> BoxDict:
        a, b, c, d = _four(value)
        if self._convention == "xywh":
            return {**(more or {}), "x": a, "y": b, "width": c, "height": d}
        if self._convention != "xyxy":
            parts = 1 if self._convention == "0-1" else 1000
            width, height = (side / parts for side in _known(self._convention, self._size))
            a, b, c, d = a * width, b * height, c * width, d * height
        return from_corners((a, b, c, d), more)


def json_in(text: str) -> object:
    """The JSON in a text, which may stand in prose or a fenced block, as language models write it.

    Takes time linear in the text's length.

    Returns:
        An empty list for an empty text.

    Raises:
        InputError: If there is none, it is not well-formed or longer than ``LONGEST_TEXT``, or there are several
            values.
    """
    text = text.removeprefix("\ufeff").strip()
    if len(text) > LONGEST_TEXT:
        raise InputError(f"The text has {len(text)} characters, and {LONGEST_TEXT} are the most. Give fewer boxes.")
    if not text:
        return []
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        whole = error
    except RecursionError:
        raise InputError(f"The text is nested too deeply to be boxes: {shortened(text)}. {_HINT}") from None
    found: list[object] = []
    end = 0
    try:
        while (begin := _JSON_BEGINS.search(text, end)) and len(found) < 2:
            value, end = _DECODER.raw_decode(text, begin.start())
            found.append(value)
    except json.JSONDecodeError as error:
        raise InputError(f"The JSON in the text breaks off or is wrong ({error}): {shortened(text)}.") from None
    except RecursionError:
        raise InputError(f"The JSON in the text is nested too deeply to be boxes: {shortened(text)}. {_HINT}") from None
    if not found:
        raise InputError(f"The text is not JSON ({whole}): {shortened(text)}. {_HINT}")
    if len(found) > 1:
        raise InputError(
            f"There are several JSON values in the text: {shortened(text)}. Put them into one list, an item an image."
        )
    return found[0]


_HINT = "Give boxes as ComfyUI's nodes make them, or JSON such as [[x1, y1, x2, y2]], one list an image."
_OWN, _SINGLE, _SEVERAL = "x, y, width, height", ("bbox", "bbox_2d", "box"), ("bboxes", "detections")
"""What a dict may hold one box under, or those of an image."""
_ELEMENTS = ("obj", "text")
"""Types of the elements that ComfyUI's CreateBoundingBoxes makes: [ymin, xmin, ymax, xmax] in thousandths."""
_JSON_BEGINS = re.compile(r"[\[{]\s*(?=[\[\]{}\"0-9.-])")
"""A bracket of prose, as in "[see below]", is none of JSON."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that says a thing twice would lose what it said first."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = Counter(name for name, _ in pairs)
        twice = next(name for name, count in names.items() if count > 1)
        raise InputError(f"{shortened(made)} says {shortened(repr(twice))} twice. Make it two boxes, or leave one out.")
    return made


def _whole(digits: str) -> float:
    """A whole number of JSON; of thousands of digits, which Python refuses, infinity, which no box has."""
    return int(digits) if len(digits) <= 1000 else math.inf


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _items(value: object, what: str) -> Sequence[Any]:
    """The items of a list, array or tensor, none for null."""
    value = _plain(value)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{shortened(value)} came for {what}, which is not a box nor a list of them. {_HINT}")
    check_count(len(value))
    return value


def _form(value: Mapping[str, Any]) -> str | None:
    """The one name under which a dict holds a box or boxes, None if it has none.

    Raises:
        InputError: it holds some under several names, which may say different things.
    """
    names = [name for name in (*_SEVERAL, *_SINGLE) if name in value]
    names += [_OWN] if all(side in value for side in SIDES) else []
    if len(names) > 1:
        raise InputError(f"{shortened(value)} holds boxes under several names: {', '.join(names)}. Keep one of them.")
    return names[0] if names else None


def _column(value: Mapping[str, Any], name: str, count: int) -> Sequence[Any]:
    """The labels or scores of ``count`` boxes, None if none is given; a single one is that of every box."""
    column = _plain(value.get(name))
    if column is None or isinstance(column, (str, Real)):
        return [column] * count
    column = _items(column, f"{name!r}")
    if len(column) not in (0, count) and count:
        raise InputError(
            f"There are {count} 'bboxes' and {len(column)} {name!r} in {shortened(value)}, so which belongs to which "
            "cannot be told. Give one for each box."
        )
    return column if len(column) == count else [None] * count


def _given(more: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: value for key, value in more.items() if value is not None and value != ""}


def _plain(value: object) -> Any:
    """Arrays and tensors as lists; one as large as a picture would fill the memory."""
    if not hasattr(value, "tolist"):
        return value
    try:
        shape = list(getattr(value, "shape", ()))
        if math.prod(shape) <= 4 * MOST_BOXES:
            return value.tolist()
    except (RuntimeError, TypeError):  # sparse tensors and their like
        raise InputError(f"The numbers of a {type(value).__name__} cannot be read. {_HINT}") from None
    raise InputError(f"An array of shape {shape} came, which is more numbers than boxes have. {_HINT}")


def _four(value: object) -> tuple[float, float, float, float]:
    numbers = _plain(value)
    if not _is_four(numbers):
        raise InputError(f"{shortened(value)} is not a box of four numbers. {_HINT}")
    a, b, c, d = map(finite, numbers)
    if a is None or b is None or c is None or d is None:
        raise InputError(f"The box {shortened(value)} has a number that is not finite or above {LARGEST}. {_HINT}")
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

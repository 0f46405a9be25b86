"""Reads boxes that others wrote, one value after the other: numbers in a list or array, or a dict that names them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from ..errors import Cancel, InputError, check_cancelled
from .bounding_box import LARGEST, MOST_BOXES, SIDES, BoxDict, check_count, finite, from_corners, shortened
from .written import HINT

Size = tuple[int, int]

Y_FIRST = "0-1000, y first"
CONVENTIONS = ("xyxy", "xywh", "0-1", "0-1000", Y_FIRST)
"""What four numbers mean: two corners; corner, width, height; two corners as fractions of the image's width and height;
the same in thousandths; y1, x1, y2, x2 in thousandths."""


class Reader:
    """Reads boxes by one convention of four numbers.

    Args:
        convention: One of ``CONVENTIONS``.
        size: (width, height) of the images, if it is known.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.
    """

    def __init__(self, convention: str, size: Size | None, cancelled: Cancel = None) -> None:
        self._convention, self._size, self._cancelled = convention, size, cancelled

    def image(self, value: object) -> list[BoxDict]:
        """The boxes of one image: a list of them, or a dict that holds them under a name of ``SEVERAL``."""
        value = plain(value)
        if not is_several(value):
            return [
                box
                for item in _items(value, "a list of boxes")
                for box in (self.image(item) if is_several(plain(item)) else [self.box(item)])
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
        check_cancelled(self._cancelled)
        value = plain(value)
        if not isinstance(value, Mapping):
            return self._numbers(value)
        name = _form(value)
        if name == _OWN:
            return {key: said for key, said in value.items() if key not in SINGLE}
        if name == "bbox" and str(value.get("type")) in _ELEMENTS and "desc" in value:
            return Reader(Y_FIRST, self._size)._numbers(value[name], _element(value))
        more = _given({"label": _said(value, _LABELS), "score": _said(value, ("score", "confidence"))})
        if name in EDGES:
            return self._edges(value, name, more)
        if name not in SINGLE:
            raise InputError(f"{shortened(value)} has neither x, y, width and height nor a bbox. {HINT}")
        inside = plain(value[name])
        if isinstance(inside, Mapping):
            return self._edges(inside, _form(inside), more)
        return (Reader(Y_FIRST, self._size) if name == "box_2d" else self)._numbers(inside, more)

    def _numbers(self, value: object, more: Mapping[str, Any] | None = None) -> BoxDict:
        a, b, c, d = _four(value)
        if self._convention == "xywh":
            return {**(more or {}), "x": a, "y": b, "width": c, "height": d}
        return self._placed((b, a, d, c) if self._convention == Y_FIRST else (a, b, c, d), more)

    def _edges(self, value: Mapping[str, Any], name: str | None, more: Mapping[str, Any]) -> BoxDict:
        """A box whose sides have names; ``x, y, width, height`` are in pixels, others as the convention counts."""
        if name == _OWN:
            return {**more, **{side: value[side] for side in SIDES}}
        if name not in EDGES:
            raise InputError(f"{shortened(value)} has neither x, y, width and height nor two corners. {HINT}")
        a, b, c, d = _four([value[edge] for edge in EDGES[name]])
        return self._placed((a, b, a + c, b + d) if name.endswith(("h", "height")) else (a, b, c, d), more)

    def _placed(self, edges: Sequence[float], more: Mapping[str, Any] | None) -> BoxDict:
        """The box of two corners in the unit of the convention."""
        parts = {"0-1": 1, "0-1000": 1000, Y_FIRST: 1000}.get(self._convention)
        if parts is not None:
            width, height = (side / parts for side in known_size(self._convention, self._size))
            edges = [edge * side for edge, side in zip(edges, (width, height) * 2, strict=True)]
        return from_corners(edges, more)


SINGLE = ("bbox", "bbox_2d", "box", "box_2d", "bounding_box")
SEVERAL = ("bboxes", "boxes", "bounding_boxes", "detections", "objects")
"""What a dict may hold one box under, or those of an image. ``box_2d``: as Gemini writes it."""
_OWN = "x, y, width, height"
EDGES = {
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
    value = plain(value)
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
    names = [name for name in (*SEVERAL, *(() if own else SINGLE)) if name in value] + [_OWN] * own
    names += [name for name, edges in EDGES.items() if all(edge in value for edge in edges)]
    if len(names) > 1:
        raise InputError(f"{shortened(value)} holds boxes under several names: {', '.join(names)}. Keep one of them.")
    return names[0] if names else None


def _column(value: Mapping[str, Any], names: Sequence[str], count: int) -> Sequence[Any]:
    """The labels or scores of ``count`` boxes, None if none is given; a single one is that of every box."""
    name = next((name for name in names if name in value), names[0])
    column = plain(value.get(name))
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


def plain(value: object) -> Any:
    """Arrays and tensors as lists, and what Florence-2 says of a task, as ``{"<OD>": …}``, without the task.

    An array as large as a picture would fill the memory. A record that tells of an error, as our command line writes
    them, is no picture without boxes.
    """
    if isinstance(value, Mapping) and "image" in value and "error" in value:
        told = f"{shortened(value['image'])}: {shortened(value['error'])}"
        raise InputError(f"There are no boxes of {told}. Mend that picture, or leave it and its line out.")
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
    numbers = plain(value)
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


def is_several(value: object) -> bool:
    """Whether it is a dict of all boxes of an image."""
    return isinstance(value, Mapping) and any(name in value for name in SEVERAL)


def is_box(value: object) -> bool:
    """Whether it is four numbers, or a dict that is not one of several boxes."""
    return _is_four(value) or (isinstance(value, Mapping) and not is_several(value))


def known_size(convention: str, size: Size | None) -> Size:
    """The size, or :class:`InputError`: the convention counts in parts of it."""
    if size is None:
        raise InputError(f"{convention} counts in parts of the image: connect the image, so that its size is known.")
    return size

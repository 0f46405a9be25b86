"""ComfyUI's ``BOUNDING_BOX``: checked, one list per image, and what its keys mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ..errors import Cancel, InputError, check_cancelled, spelled
from .geometry import Box, intersection, pixel_rectangle

BoxDict = dict[str, Any]
"""``x, y, width, height`` in pixels, numbers >= 0 for the extents; other keys travel along."""
Boxes = list[list[BoxDict]]
"""One list per image; an image without boxes keeps its empty list."""

SIDES = ("x", "y", "width", "height")
LARGEST = 10**9
"""No number of a box is further from 0, so that whatever is made of it is finite too."""
MOST_BOXES = 100_000
"""Boxes of a batch, together: more than anybody looks at."""


def as_boxes(value: object, cancelled: Cancel = None) -> Boxes:
    """Checks a ``BOUNDING_BOX`` of any of the shapes in use.

    Args:
        value: One box; a list of boxes, taken as those of one image; or a list of such lists, one per image.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.

    Returns:
        One list per image (at least one) of new dicts with Python numbers; keys that are not ours are kept.

    Raises:
        InputError: If it is something else, or a box lacks a side, or has a side that is no finite number up to
            ``LARGEST``, a score that is none in 0..1, or a label that is no text; or there are more than
            ``MOST_BOXES``.
    """

    def checked(box: Mapping[Any, Any], where: str) -> BoxDict:
        check_cancelled(cancelled)
        return _checked(box, where)

    if isinstance(value, Mapping):
        return [[checked(value, "the box")]]
    if not isinstance(value, (list, tuple)):
        raise InputError(f"Boxes were expected and a {type(value).__name__} came. {_HINT}")
    by_image = all(isinstance(item, (list, tuple)) for item in value)
    check_count(sum(map(len, value)) if by_image else len(value))
    if all(isinstance(item, Mapping) for item in value):
        return [[checked(box, f"box {number}") for number, box in enumerate(value, 1)]]
    for number, item in enumerate(value, 1):
        if not isinstance(item, (list, tuple)) or not all(isinstance(box, Mapping) for box in item):
            raise InputError(f"Item {number} of the boxes, {shortened(item)}, is not a list of boxes. {_HINT}")
    return [
        [checked(box, f"box {number} of image {image}") for number, box in enumerate(boxes, 1)]
        for image, boxes in enumerate(value, 1)
    ]


def boxes_per_image(value: object, count: int, size: tuple[int, int] | None = None) -> Boxes:
    """Checks boxes for a batch of ``count`` images; one list alone serves every image.

    Args:
        value: As for :func:`as_boxes`.
        count: How many images there are.
        size: (width, height) of the images; boxes that they do not show are then left out (:func:`shown`).

    Raises:
        InputError: As :func:`as_boxes`, and if there are neither one nor ``count`` lists.
    """
    boxes = repeated(as_boxes(value), count)
    return boxes if size is None else [shown(found, size) for found in boxes]


def shown(boxes: Iterable[BoxDict], size: tuple[int, int]) -> list[BoxDict]:
    """The boxes of which an image of ``size`` (width, height) shows a part, however small.

    The one rule for boxes beyond an image, wherever boxes meet pixels (masks, crops, SEGS, previews): the part inside
    counts, and a box that has none, as it lies wholly outside or is empty, is as if it were not there.
    """
    return [box for box in boxes if intersection(corners(box), (0, 0, *size))]


def fitted(boxes: Iterable[BoxDict], size: tuple[int, int]) -> list[BoxDict]:
    """The boxes that :func:`shown` keeps, cut at the image's border and at least a pixel wide and high."""
    fit = []
    for box in shown(boxes, size):
        edges = pixel_rectangle(corners(box), size)
        x, width = _fitted_span(box["x"], box["width"], size[0], edges[::2])
        y, height = _fitted_span(box["y"], box["height"], size[1], edges[1::2])
        fit.append({**box, "x": x, "y": y, "width": width, "height": height})
    return fit


def _fitted_span(start: float, extent: float, limit: int, pixels: Sequence[int]) -> tuple[float, float]:
    """Start and extent within 0..``limit``; those of the nearest whole ``pixels`` where less than one is left."""
    low, high = max(start, 0), min(start + extent, limit)
    if high - low < 1:
        low, high = pixels
    elif (low, high) == (start, start + extent):
        return start, extent
    return low, high - low


def repeated(boxes: Boxes, count: int) -> Boxes:
    """The lists as they are if there are ``count``; a single one ``count`` times (of new dicts)."""
    if len(boxes) == 1:
        check_count(len(boxes[0]) * count)
        return [[dict(box) for box in boxes[0]] for _ in range(count)]
    if len(boxes) != count:
        raise InputError(
            f"There are boxes for {len(boxes)} images, but {count} images. Connect the images that the boxes were "
            "found in, or boxes of one image, which serve all."
        )
    return boxes


def check_count(count: int) -> None:
    """Raises :class:`InputError` where there are more than ``MOST_BOXES``."""
    if count > MOST_BOXES:
        raise InputError(
            f"There are {count} boxes, and {MOST_BOXES} are the most that images may have together. Give fewer, or "
            "fewer images at a time."
        )


def corners(box: Mapping[str, Any]) -> Box:
    """(x1, y1, x2, y2); whole numbers stay whole."""
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def from_corners(edges: Sequence[float], more: Mapping[str, Any] | None = None) -> BoxDict:
    """The box of (x1, y1, x2, y2), corners in either order, with the other keys of ``more``."""
    x1, y1, x2, y2 = edges
    x, y = min(x1, x2), min(y1, y2)
    return {**(more or {}), "x": x, "y": y, "width": max(x1, x2) - x, "height": max(y1, y2) - y}


def label_of(box: Mapping[str, Any]) -> str:
    """The box's label; for boxes of ComfyUI's editor, which have none, their description; else an empty string."""
    if box.get("label") is not None:
        return str(box["label"])
    metadata = box.get("metadata")
    described = metadata.get("desc") if isinstance(metadata, Mapping) else None
    return described if isinstance(described, str) else ""


def score_of(box: Mapping[str, Any]) -> float:
    """The box's score; 1 for boxes that have none, as ComfyUI's own nodes take it."""
    return float(box["score"]) if has_score(box) else 1.0


def has_score(box: Mapping[str, Any]) -> bool:
    """Whether the box has a score; None is none."""
    return box.get("score") is not None


def relabelled(box: Mapping[str, Any], label: str) -> BoxDict:
    """The box with another label, which ComfyUI's editor shows too."""
    changed = {**box, "label": label}
    if isinstance(box.get("metadata"), Mapping):
        changed["metadata"] = {**box["metadata"], "desc": label}
    return changed


def described(box: Mapping[str, Any]) -> BoxDict:
    """The box with its label where ComfyUI's editor looks for it, if nothing is there yet."""
    if not box.get("label") or "metadata" in box:
        return dict(box)
    return {**box, **editor_metadata(label_of(box))}


def editor_metadata(label: str) -> dict[str, Any]:
    """What ComfyUI's editor and core's box nodes read beside a box's sides: its label as ``metadata.desc``."""
    return {"metadata": {"type": "obj", "text": "", "desc": label, "palette": []}}


def shortened(value: object) -> str:
    """How boxes, which are long, are written in an error message: at most 100 characters."""
    return spelled(value, 100)


def finite(value: Any) -> int | float | None:
    """A number, NumPy's and torch's included, as Python's own; None for any that is not within ``LARGEST`` of 0."""
    if not isinstance(value, Real) and hasattr(value, "item"):
        try:
            value = value.item()
        except (RuntimeError, TypeError, ValueError):  # of several numbers
            return None
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not -LARGEST <= value <= LARGEST:
        return None
    return int(value) if isinstance(value, Integral) else float(value)


_HINT = (
    "A box is a dict of x, y, width and height; several are a list, a batch of images has a list of lists. "
    "IAA Convert Boxes reads other formats."
)
_ROUNDING = 1e-6
"""How far beyond 0..1 a score may lie that was computed in 32 bits."""


def _checked(box: Mapping[str, Any], where: str) -> BoxDict:
    """A new dict of a box: its sides and score as Python numbers, its label as text that can be written anywhere."""
    checked = dict(box)
    for key in (*SIDES, "score"):
        if key == "score" and box.get(key) is None:
            continue
        number = finite(box.get(key))
        if number is None:
            remedy = "Leave it out where nothing is known." if key == "score" else _HINT
            raise InputError(
                f"{key!r} of {where}, {shortened(box)}, is not a finite number of at most {LARGEST}. {remedy}"
            )
        checked[key] = number
    if (score := checked.get("score")) is not None:
        if not -_ROUNDING <= score <= 1 + _ROUNDING:
            raise InputError(
                f"'score' of {where}, {shortened(box)}, is not in 0..1. Divide percents by 100, or leave it out where "
                "nothing is known."
            )
        checked["score"] = min(max(score, 0), 1)
    if checked["width"] < 0 or checked["height"] < 0:
        raise InputError(
            f"The width or height of {where}, {shortened(box)}, is negative. Give left, top, width, height."
        )
    label = box.get("label")
    if isinstance(label, str):
        checked["label"] = label.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be saved
    elif label is not None and finite(label) is None:
        raise InputError(f"'label' of {where}, {shortened(box)}, is not text. Give a word or a phrase.")
    return checked

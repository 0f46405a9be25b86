"""From an answer's text to boxes in the pixels of the picture that was asked about.

The model speaks of the square that a picture was padded to, in fractions of its side. Everything here that is a box in
floats is ``(x1, y1, x2, y2)``: left, top, right, bottom edge, without the ``+ 1`` of pixel-counting conventions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Box = tuple[float, float, float, float]

# A digit can be matched in one place of each pattern only: time stays linear in whatever text a model makes.
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_BOX = r"\[\s*" + r"\s*,\s*".join([f"({_NUMBER})"] * 4) + r"\s*\]"
_ONE_BOX = re.compile(_BOX)
_BOXES_ONLY = re.compile(rf"\s*{_BOX}(?:[\s,]*{_BOX})*\s*")


@dataclass(frozen=True)
class Detection:
    """One found region.

    Attributes:
        x: Left edge in pixels of the picture.
        y: Top edge.
        width: Pixels across, at least 1.
        height: Pixels down, at least 1.
        label: What was looked for.
        score: Confidence, 0..1.
    """

    x: int
    y: int
    width: int
    height: int
    label: str
    score: float

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge; right and bottom are the first pixel column and row outside."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def to_dict(self) -> dict[str, Any]:
        """Returns ``{"x", "y", "width", "height", "label", "score"}``, ready for JSON."""
        return asdict(self)


def parse_boxes(text: str) -> list[Box]:
    """Reads the boxes of an answer such as ``[0.1,0.2,0.3,0.4]; [0.5,0.5,0.9,1.0]``.

    Read as the published RefCOCO scorer does: piece by piece between semicolons, up to the first piece that is
    something else, so "I cannot see it." and "[0.5,0.5,0.4" give no box. More generous than the scorer in one respect:
    within a piece, boxes may be joined by commas or blanks. Numbers below 0 and above 1 are read as they are.

    Args:
        text: The model's answer.

    Returns:
        The boxes in order, as fractions of the padded square; corners may be reversed. Empty if nothing can be read.
    """
    return [box for box, _, _ in box_spans(text)]


def box_spans(text: str) -> list[tuple[Box, int, int]]:
    """Like :func:`parse_boxes`, with the place of each box in the text: (box, start, end) as in ``text[start:end]``."""
    found: list[tuple[Box, int, int]] = []
    offset = 0
    for piece in text.split(";"):
        if not _BOXES_ONLY.fullmatch(piece):
            break
        for match in _ONE_BOX.finditer(piece):
            x1, y1, x2, y2 = map(float, match.groups())
            if not all(map(math.isfinite, (x1, y1, x2, y2))):
                return found
            found.append(((x1, y1, x2, y2), offset + match.start(), offset + match.end()))
        offset += len(piece) + 1
    return found


def unpad_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Maps fractions of the padded square to pixels of the picture, as the published scorer does.

    Args:
        box: (x1, y1, x2, y2) as fractions of the square's side.
        size: (width, height) of the picture in pixels.

    Returns:
        The box in pixels, neither rounded nor clamped, so a point in the padding lies outside the picture.
    """
    side, left, top = _padding(size)
    x1, y1, x2, y2 = box
    return x1 * side - left, y1 * side - top, x2 * side - left, y2 * side - top


def pad_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Maps pixels of a picture of ``size`` to fractions of the padded square; :func:`unpad_box` is the way back."""
    side, left, top = _padding(size)
    x1, y1, x2, y2 = box
    return (x1 + left) / side, (y1 + top) / side, (x2 + left) / side, (y2 + top) / side


def to_detection(box: Sequence[float], size: tuple[int, int], label: str, score: float) -> Detection:
    """Makes whole pixels inside the picture of a box that the model gave.

    Reversed corners are put in order. Edges go to the nearest pixel edge, not outwards: the answer's three decimals
    are off either way, so outward rounding would only make boxes too big, and a box of whole pixels would not survive
    the way through :func:`pad_box` and back. What lies outside the picture is cut off; a box that is wholly outside
    becomes the nearest pixel of the border, since the model did give an answer.

    Args:
        box: (x1, y1, x2, y2) as fractions of the padded square.
        size: (width, height) of the picture in pixels.
        label: What was looked for.
        score: Confidence, 0..1.

    Returns:
        The detection, at least 1 x 1 pixel.

    Raises:
        InputError: If a number is not finite, the score is not in 0..1 or the picture has no pixels.
    """
    if not all(map(math.isfinite, box)):
        raise InputError(f"The box {tuple(box)} of {label!r} has a coordinate that is not a finite number.")
    if not 0 <= score <= 1:
        raise InputError(f"The score {score} of {label!r} is not in 0..1.")
    x1, y1, x2, y2 = unpad_box(box, size)
    x, width = _whole_span(x1, x2, size[0])
    y, height = _whole_span(y1, y2, size[1])
    return Detection(x, y, width, height, label, float(score))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two (x1, y1, x2, y2) boxes, 0..1; 0 where a box is reversed or both are empty."""
    return float(pairwise_iou([a], [b])[0, 0])


def pairwise_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of ``a`` with every box of ``b``.

    Args:
        a: N boxes, (N, 4), as (x1, y1, x2, y2).
        b: M boxes, (M, 4), likewise.

    Returns:
        (N, M) values in 0..1, float64. A reversed box meets nothing, as in the published scorer.
    """
    first = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    intersection = _areas(low, np.maximum(low, high))
    union = _areas(first[..., :2], first[..., 2:]) + _areas(second[..., :2], second[..., 2:]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=intersection > 0)


def _areas(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Areas of boxes given by their (..., 2) corners; negative where one axis is reversed."""
    spans = high - low
    return spans[..., 0] * spans[..., 1]


def _padding(size: tuple[int, int]) -> tuple[int, int, int]:
    """Side of the square that a picture is padded to, and the borders left of it and above it."""
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"A picture of {width} x {height} has no pixels to place a box in.")
    side = max(width, height)
    return side, (side - width) // 2, (side - height) // 2


def _whole_span(start: float, end: float, length: int) -> tuple[int, int]:
    """Rounds a span to whole pixels within 0..``length``: its start and its extent, at least 1."""
    low, high = sorted(math.floor(min(max(edge, 0), length) + 0.5) for edge in (start, end))
    first = min(low, length - 1)
    return first, max(high - first, 1)

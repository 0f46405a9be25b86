"""Parses the boxes in the model's answers and makes detections, in pixels of the picture, of them.

The model speaks of the square that a picture was padded to, in fractions of its side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError
from .geometry import Box, Rectangle, pixel_rectangle, unpad_box

# A digit can be matched at one point of each pattern only, so time stays linear in whatever text a model makes.
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_BOX = r"\[\s*" + r"\s*,\s*".join([f"({_NUMBER})"] * 4) + r"\s*\]"
_ONE_BOX = re.compile(_BOX)
_BOXES_ONLY = re.compile(rf"\s*{_BOX}(?:[\s,]*{_BOX})*\s*")


def format_box(box: Sequence[float]) -> str:
    """``[x1,y1,x2,y2]`` with three decimals, each clamped to 0.000 … 0.999 so that its digits are one token."""
    return "[" + ",".join(f"{min(max(value, 0.0), 0.999):.3f}" for value in box) + "]"


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

    Example:
        >>> found = Detection(x=10, y=20, width=30, height=40, label="red panda", score=0.9)
        >>> found.xyxy
        (10, 20, 40, 60)
    """

    x: int
    y: int
    width: int
    height: int
    label: str
    score: float

    @classmethod
    def from_xyxy(cls, rectangle: Rectangle, label: str, score: float) -> Detection:
        """The detection of a rectangle; :attr:`xyxy` is the way back."""
        left, top, right, bottom = rectangle
        return cls(left, top, right - left, bottom - top, label, score)

    @property
    def xyxy(self) -> Rectangle:
        """Left, top, right and bottom edge; right and bottom are the first pixel column and row outside."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def to_dict(self) -> dict[str, Any]:
        """Returns ``{"x", "y", "width", "height", "label", "score"}``, ready for JSON."""
        return asdict(self)


def parse_boxes(text: str) -> list[Box]:
    """Parses the boxes of an answer such as ``[0.1,0.2,0.3,0.4]; [0.5,0.5,0.9,1.0]``.

    Goes from semicolon to semicolon as the published RefCOCO scorer does, up to the first part that is no box, so
    "I cannot see it." and "[0.5,0.5,0.4" give none. More generous than the scorer in one respect: within a part, boxes
    may be joined by commas or blanks. Numbers below 0 and above 1 are taken as they are.

    Args:
        text: The model's answer.

    Returns:
        The boxes in order, as fractions of the padded square; corners may be reversed. Empty if there are none.

    Example:
        >>> parse_boxes("[0.1,0.2,0.3,0.4]; [0.5,0.5,0.9,1.0]")
        [(0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.9, 1.0)]
    """
    return [box for box, _, _ in box_spans(text)]


def box_spans(text: str) -> list[tuple[Box, int, int]]:
    """Like :func:`parse_boxes`, with where each box stands: (box, start, end) as in ``text[start:end]``."""
    found: list[tuple[Box, int, int]] = []
    offset = 0
    for part in text.split(";"):
        if not _BOXES_ONLY.fullmatch(part):
            break
        for match in _ONE_BOX.finditer(part):
            x1, y1, x2, y2 = map(float, match.groups())
            if not all(map(math.isfinite, (x1, y1, x2, y2))):
                return found
            found.append(((x1, y1, x2, y2), offset + match.start(), offset + match.end()))
        offset += len(part) + 1
    return found


def to_detection(box: Sequence[float], size: tuple[int, int], label: str, score: float) -> Detection:
    """Turns a box that the model gave into whole pixels inside the picture.

    Reversed corners are put in order. Edges go to the nearest pixel edge, not outwards: the answer's three decimals
    are off either way, so outward rounding would only make boxes too big, and a box of whole pixels would not survive
    :func:`~.geometry.pad_box` and back. What lies outside the picture is cut off; a box that is wholly outside becomes
    the nearest pixel of the border, since the model did give an answer.

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
    return Detection.from_xyxy(pixel_rectangle(unpad_box(box, size), size), label, float(score))

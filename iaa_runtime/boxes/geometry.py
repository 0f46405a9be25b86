"""Where boxes lie in whole pixels: one axis at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .bounding_box import corners

Rectangle = tuple[int, int, int, int]


def pixel_rectangle(box: Mapping[str, Any], size: tuple[int, int]) -> Rectangle:
    """The pixels of a box: edges to the nearest pixel edge, within the picture, at least one pixel each way.

    Args:
        box: In pixels, any numbers.
        size: (width, height) of the picture.

    Returns:
        (left, top, right, bottom). A box wholly outside becomes the nearest pixels of the border.
    """
    x1, y1, x2, y2 = corners(box)
    left, right = _whole_span(x1, x2, size[0])
    top, bottom = _whole_span(y1, y2, size[1])
    return left, top, right, bottom


def is_visible(box: Mapping[str, Any], size: tuple[int, int]) -> bool:
    """Whether any part of the box, however small, lies in the picture."""
    x1, y1, x2, y2 = corners(box)
    return min(x2, size[0]) > max(x1, 0) and min(y2, size[1]) > max(y1, 0)


def place_span(centre: float, length: int, limit: int) -> tuple[int, int]:
    """Places ``length`` pixels around a centre: shifted inside 0..``limit`` if they fit, else beyond both ends.

    Returns:
        The first pixel and the one after the last.
    """
    if length >= limit:
        start = -((length - limit) // 2)
    else:
        start = min(max(math.floor(centre - length / 2 + 0.5), 0), limit - length)
    return start, start + length


def _whole_span(start: float, end: float, limit: int) -> tuple[int, int]:
    low, high = (math.floor(min(max(edge, 0), limit) + 0.5) for edge in (start, end))
    low = min(low, limit - 1)
    return low, max(high, low + 1)

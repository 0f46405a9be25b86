"""Geometry of boxes as plain numbers: padding to the square, whole pixels, overlaps.

A box is ``(x1, y1, x2, y2)``: left, top, right, bottom edge, without the ``+ 1`` of pixel-counting conventions. Sizes
are (width, height).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from ..errors import InputError, spelled

Box = tuple[float, float, float, float]
Rectangle = tuple[int, int, int, int]
"""A box of whole pixels: right and bottom are the first pixel column and row outside."""
Unit = Literal["pixels", "percent"]
MOST_PIXELS = 1 << 30
"""Of all crops or masks that a batch of boxes is made into: 4 GB as a mask, 12 as pictures."""

Overlapping = Callable[[int, npt.NDArray[np.int64]], npt.NDArray[np.bool_]]
"""Which boxes of those numbered in an array overlap with the box of a number; booleans of the array's length."""
Number = TypeVar("Number", int, float)


def square_padding(size: tuple[int, int]) -> tuple[int, int, int]:
    """Side of the square that a picture is padded to, and the borders left of it and above it, in pixels.

    An odd pixel of border goes right or below, as in the published code.

    Raises:
        InputError: If the picture has no pixels.
    """
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"A picture of {width} x {height} has no pixels to place a box in.")
    side = max(width, height)
    return side, (side - width) // 2, (side - height) // 2


def unpad_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Maps fractions of the padded square to pixels of the picture, as the published scorer does.

    Args:
        box: (x1, y1, x2, y2) as fractions of the square's side.
        size: (width, height) of the picture in pixels.

    Returns:
        The box in pixels, neither rounded nor clamped, so a point in the padding lies outside the picture.

    Example:
        >>> unpad_box((0.5, 0.25, 1.0, 0.75), (200, 100))
        (100.0, 0.0, 200.0, 100.0)
    """
    side, left, top = square_padding(size)
    x1, y1, x2, y2 = box
    return x1 * side - left, y1 * side - top, x2 * side - left, y2 * side - top


def pad_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Maps pixels of a picture of ``size`` to fractions of the padded square; :func:`unpad_box` is the way back."""
    side, left, top = square_padding(size)
    x1, y1, x2, y2 = box
    return (x1 + left) / side, (y1 + top) / side, (x2 + left) / side, (y2 + top) / side


def pixel_rectangle(box: Sequence[float], size: tuple[int, int]) -> Rectangle:
    """Rounds a box to whole pixels inside the picture: edges to the nearest pixel edge, at least one pixel each way.

    Args:
        box: In pixels; corners may be reversed.
        size: (width, height) of the picture.

    Returns:
        (left, top, right, bottom). A box wholly outside becomes the nearest pixels of the border.
    """
    x1, y1, x2, y2 = box
    left, right = _pixel_span(x1, x2, size[0])
    top, bottom = _pixel_span(y1, y2, size[1])
    return left, top, right, bottom


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


def check_unit(unit: object) -> None:
    """Raises :class:`InputError` for what is no :data:`Unit`; nothing is taken for another."""
    if unit not in get_args(Unit):
        raise InputError(f"There is no unit {spelled(unit)}. Choose one of: {', '.join(get_args(Unit))}.")


def grown(box: Sequence[float], amount: float, unit: Unit = "pixels") -> Box:
    """Moves the sides of a box outwards by pixels, or by hundredths of its own width and height."""
    x1, y1, x2, y2 = box
    across, down = (amount, amount) if unit == "pixels" else (amount * (x2 - x1) / 100, amount * (y2 - y1) / 100)
    return x1 - across, y1 - down, x2 + across, y2 + down


def check_pixels(count: int, what: str) -> None:
    """Raises :class:`InputError` where boxes would become more pixels than ``MOST_PIXELS``, before any is made."""
    if count > MOST_PIXELS:
        raise InputError(
            f"{what} would have {count} pixels together, and {MOST_PIXELS} are the most. Keep fewer boxes (IAA Select "
            "Boxes has a 'limit'), or use smaller images or crops."
        )


def intersection(a: Sequence[Number], b: Sequence[Number]) -> tuple[Number, Number, Number, Number] | None:
    """The part that two boxes share, or None if they share no area."""
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def pairwise_intersection(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Area that every box of ``a`` (N, 4) shares with every box of ``b`` (M, 4): (N, M), 0 for reversed boxes."""
    first = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.maximum(low, np.minimum(first[..., 2:], second[..., 2:]))
    return _product(high - low)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, 0..1; 0 where a box is reversed or both are empty."""
    return float(pairwise_iou([a], [b])[0, 0])


def paired_overlaps(found: Sequence[Box], true: Sequence[Box]) -> list[float]:
    """IoU of each true box with the found one that it is paired with: best pairs first, each box once; else 0."""
    best = [0.0] * len(true)
    if not found or not true:
        return best
    table = pairwise_iou(found, true)
    while table.max() > 0:
        row, column = np.unravel_index(int(table.argmax()), table.shape)
        best[int(column)] = float(table[row, column])
        table[row, :] = table[:, column] = 0.0
    return best


def pairwise_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of ``a`` with every box of ``b``.

    Args:
        a: N boxes, (N, 4), as (x1, y1, x2, y2).
        b: M boxes, (M, 4), likewise.

    Returns:
        (N, M) values in 0..1, float64. A reversed box meets nothing, as in the published scorer.
    """
    first, second = (np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (a, b))
    shared = pairwise_intersection(first, second)
    areas = [_product(boxes[:, 2:] - boxes[:, :2]) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def best_of_overlapping(scores: Sequence[float], overlapping: Overlapping) -> list[int]:
    """Greedy non-maximum suppression: the numbers of those boxes, in order, which no better scoring one covers."""
    rest = np.array(sorted(range(len(scores)), key=lambda number: -scores[number]), dtype=np.int64)
    kept: list[int] = []
    while len(rest):
        kept.append(int(rest[0]))
        rest = rest[1:][~overlapping(kept[-1], rest[1:])]
    return sorted(kept)


def _product(spans: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Areas of (..., 2) widths and heights."""
    return spans[..., 0] * spans[..., 1]


def _pixel_span(start: float, end: float, limit: int) -> tuple[int, int]:
    """Rounds a span to whole pixels within 0..``limit``: the first pixel and the one after the last."""
    low, high = sorted(math.floor(min(max(edge, 0), limit) + 0.5) for edge in (start, end))
    low = min(low, limit - 1)
    return low, max(high, low + 1)

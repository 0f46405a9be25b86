"""Masks of boxes: rectangles or ellipses, grown or shrunk, with soft edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import Cancel, InputError, check_cancelled, spelled
from ..images.strips import strips
from .bounding_box import BoxDict, Boxes, corners
from .geometry import Box, Rectangle, Unit, check_pixels, check_unit, grown, intersection, pixel_rectangle

Shape = Literal["rectangle", "ellipse"]
Plane = npt.NDArray[np.float32]

_CACHED = 1 << 16
_TINY = 1e-12


@dataclass(frozen=True)
class _Pen:
    """How boxes are drawn; the fields are arguments of :func:`box_masks`."""

    shape: Shape = "rectangle"
    grow: float = 0.0
    unit: Unit = "pixels"
    feather: float = 0.0

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if self.shape not in get_args(Shape):
            raise InputError(f"There is no shape {spelled(self.shape)}. Choose one of: {', '.join(get_args(Shape))}.")
        if not (math.isfinite(self.grow) and math.isfinite(self.feather)):
            raise InputError("'grow' and 'feather' must be finite numbers.")


def box_masks(
    boxes: Sequence[BoxDict],
    size: tuple[int, int],
    *,
    shape: Shape = "rectangle",
    grow: float = 0.0,
    unit: Unit = "pixels",
    feather: float = 0.0,
    cancelled: Cancel = None,
) -> Tensor:
    """One mask per box of an image.

    Args:
        boxes: In pixels of the image. Each covers the pixels nearest to it; one that lies outside covers none.
        size: (width, height) of the image.
        shape: The whole box, or the ellipse that touches its sides.
        grow: How far each side moves outwards; negative moves it inwards, until nothing is left.
        unit: ``grow`` in pixels, or in hundredths of the box's own width and height.
        feather: Over how many pixels the edge fades, half of them inside. Sides of rectangles that lie on the border
            of the image stay sharp: there is nothing behind them to fade into.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked before each box and every few million
            pixels.

    Returns:
        (N, H, W) float32 in 0..1; N may be 0.

    Raises:
        InputError: If they would have more than ``MOST_PIXELS`` together, or an option is none of those.
    """
    pen = _Pen(shape, grow, unit, feather)
    check_pixels(len(boxes) * size[0] * size[1], f"{len(boxes)} masks, one a box,")
    masks = torch.zeros(len(boxes), size[1], size[0])
    for mask, box in zip(masks, boxes, strict=True):
        check_cancelled(cancelled)
        _add(mask.numpy(), box, pen, cancelled)
    return masks


def union_masks(boxes: Boxes, size: tuple[int, int], *, cancelled: Cancel = None, **options: Any) -> Tensor:
    """One mask per image: the largest value of any of its boxes.

    Args:
        boxes: One list per image.
        size: (width, height) of every image.
        cancelled: As for :func:`box_masks`.
        **options: The others of :func:`box_masks`.

    Returns:
        (B, H, W) float32; zeros for images without boxes.
    """
    pen = _Pen(**options)
    masks = torch.zeros(len(boxes), size[1], size[0])
    for mask, found in zip(masks, boxes, strict=True):
        for box in found:
            check_cancelled(cancelled)
            _add(mask.numpy(), box, pen, cancelled)
    return masks


def box_in(box: BoxDict, window: Sequence[float], size: tuple[int, int]) -> BoxDict:
    """The box in the pixels of a window (x1, y1, x2, y2) of its image that is resized to ``size`` (width, height)."""
    across, down = size[0] / (window[2] - window[0]), size[1] / (window[3] - window[1])
    x1, y1, _, _ = corners(box)
    return {
        **box,
        "x": (x1 - window[0]) * across,
        "y": (y1 - window[1]) * down,
        "width": box["width"] * across,
        "height": box["height"] * down,
    }


def _add(mask: Plane, box: BoxDict, pen: _Pen, cancelled: Cancel) -> None:
    """Raises an (H, W) mask to the values of a box."""
    size = (mask.shape[1], mask.shape[0])
    edges = grown(pixel_rectangle(corners(box), size), pen.grow, pen.unit)
    if not intersection(corners(box), (0, 0, *size)) or edges[0] >= edges[2] or edges[1] >= edges[3]:
        return
    if pen.shape == "rectangle" and pen.feather <= 0:
        _fill(mask, edges)
    else:
        _draw(mask, edges, pen, cancelled)


def _fill(mask: Plane, edges: Box) -> None:
    """Sets the pixels whose centres are inside a rectangle."""
    left, top = (max(math.floor(edge - 0.5) + 1, 0) for edge in edges[:2])
    right, bottom = (max(math.ceil(edge - 0.5), 0) for edge in edges[2:])
    mask[top:bottom, left:right] = 1


def _draw(mask: Plane, edges: Box, pen: _Pen, cancelled: Cancel) -> None:
    """Draws an edge that is soft or round, looking only at pixels near the box, as many rows as a cache holds."""
    size = (mask.shape[1], mask.shape[0])
    reach = math.ceil(pen.feather / 2)
    x1, y1, x2, y2 = edges
    near = math.floor(x1) - reach, math.floor(y1) - reach, math.ceil(x2) + reach, math.ceil(y2) + reach
    if (window := intersection(near, (0, 0, *size))) is None:
        return
    left, top, right, bottom = window
    distance = (_EllipseDistance if pen.shape == "ellipse" else _RectangleDistance)(edges, size, window)
    for _, start, _, end in strips((right - left, bottom - top), cancelled, pixels=_CACHED):
        value = distance(start, end)
        if pen.feather > 0:
            value *= -1 / pen.feather
            value += 0.5
            np.clip(value, 0, 1, out=value)
        else:
            value = (value < 0).astype(np.float32)
        rows = mask[top + start : top + end, left:right]
        np.maximum(rows, value, out=rows)


class _RectangleDistance:
    """How far pixels are outside a rectangle (inside: negative), without the sides on the image's border.

    Args:
        edges: Of the rectangle.
        size: (width, height) of the image.
        window: The pixels that are asked for, some of its rows at a time.
    """

    def __init__(self, edges: Box, size: tuple[int, int], window: Rectangle) -> None:
        x, y = _centres(window)
        self._across = _beyond(x, edges[0], edges[2], size[0])
        self._down = _beyond(y, edges[1], edges[3], size[1])

    def __call__(self, start: int, end: int) -> Plane:
        across, down = self._across, self._down[start:end]
        outside: Plane = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
        inside = np.maximum(across, down)
        outside += np.minimum(inside, 0, out=inside)
        return outside


class _EllipseDistance:
    """How far pixels are outside an ellipse (inside: negative), to first order; the arguments are as above.

    With r = |(x/a, y/b)|, r - 1 is 0 on the ellipse; divided by the length of its gradient, |(x/a^2, y/b^2)| / r, it
    is the distance near the ellipse (Taubin 1991, "Estimation of planar curves ...", section on approximate distance).
    """

    def __init__(self, edges: Box, size: tuple[int, int], window: Rectangle) -> None:
        x1, y1, x2, y2 = edges
        a, b = (x2 - x1) / 2, (y2 - y1) / 2
        x, y = _centres(window)
        u, v = ((x - (x1 + x2) / 2) / a) ** 2, ((y - (y1 + y2) / 2) / b) ** 2
        # The centre itself, where r and its gradient are 0, counts as a point a little beside it on the shorter axis.
        if a < b:
            u += _TINY
        else:
            v += _TINY
        self._radius = u.astype(np.float32), v.astype(np.float32)
        self._slope = (u / a**2).astype(np.float32), (v / b**2).astype(np.float32)

    def __call__(self, start: int, end: int) -> Plane:
        radius, slope = (np.sqrt(across + down[start:end]) for across, down in (self._radius, self._slope))
        distance: Plane = radius * (radius - 1)
        distance /= slope
        return distance


def _centres(window: Rectangle) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Centres of the pixels of a window: x of its columns (w,), y of its rows (h, 1)."""
    left, top, right, bottom = window
    return np.arange(left, right) + 0.5, (np.arange(top, bottom) + 0.5)[:, None]


def _beyond(positions: npt.NDArray[Any], low: float, high: float, limit: int) -> Plane:
    """How far positions are outside a span, the ends of which do not count where they lie on 0 or ``limit``."""
    nowhere = np.full_like(positions, -math.inf)
    return np.maximum(
        low - positions if low > 0 else nowhere, positions - high if high < limit else nowhere, dtype=np.float32
    )

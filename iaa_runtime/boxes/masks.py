"""Masks of boxes: rectangles or ellipses, grown or shrunk, with soft edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .bounding_box import BoxDict, Boxes, corners
from .geometry import Box, Unit, grown, intersection, pixel_rectangle

Shape = Literal["rectangle", "ellipse"]


def box_masks(
    boxes: Sequence[BoxDict],
    size: tuple[int, int],
    *,
    shape: Shape = "rectangle",
    grow: float = 0.0,
    unit: Unit = "pixels",
    feather: float = 0.0,
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

    Returns:
        (N, H, W) float32 in 0..1; N may be 0.
    """
    masks = torch.zeros(len(boxes), size[1], size[0])
    for mask, box in zip(masks, boxes, strict=True):
        if intersection(corners(box), (0, 0, *size)):
            edges = grown(pixel_rectangle(corners(box), size), grow, unit)
            if edges[0] < edges[2] and edges[1] < edges[3]:
                _draw(mask, edges, shape, feather)
    return masks


def union_masks(boxes: Boxes, size: tuple[int, int], **options: float | str) -> Tensor:
    """One mask per image: the largest value of any of its boxes.

    Args:
        boxes: One list per image.
        size: (width, height) of every image.
        **options: Those of :func:`box_masks`.

    Returns:
        (B, H, W) float32; zeros for images without boxes.
    """
    masks = torch.zeros(len(boxes), size[1], size[0])
    for mask, found in zip(masks, boxes, strict=True):
        for box in found:  # one at a time: a mask of every box of a large image at once would take gigabytes
            torch.maximum(mask, box_masks([box], size, **options)[0], out=mask)  # type: ignore[arg-type]
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


def _draw(mask: Tensor, edges: Box, shape: Shape, feather: float) -> None:
    """Draws into an (H, W) mask, looking only at pixels near the box."""
    height, width = mask.shape
    reach = math.ceil(feather / 2)
    x1, y1, x2, y2 = edges
    near = math.floor(x1) - reach, math.floor(y1) - reach, math.ceil(x2) + reach, math.ceil(y2) + reach
    if (window := intersection(near, (0, 0, width, height))) is None:
        return
    left, top, right, bottom = window
    x = torch.arange(left, right, dtype=torch.float32) + 0.5
    y = torch.arange(top, bottom, dtype=torch.float32)[:, None] + 0.5
    if shape == "ellipse":
        distance = _ellipse_distance(x, y, edges)
    else:
        distance = _rectangle_distance(x, y, edges, (width, height))
    soft = (0.5 - distance / feather).clamp(0, 1) if feather > 0 else (distance < 0).float()
    mask[top:bottom, left:right] = soft


def _rectangle_distance(x: Tensor, y: Tensor, edges: Box, size: tuple[int, int]) -> Tensor:
    """How far points are outside a rectangle (inside: negative), without the sides on the image's border."""
    x1, y1, x2, y2 = edges
    across = torch.maximum(
        x1 - x if x1 > 0 else torch.full_like(x, -math.inf), x - x2 if x2 < size[0] else torch.full_like(x, -math.inf)
    )
    down = torch.maximum(
        y1 - y if y1 > 0 else torch.full_like(y, -math.inf), y - y2 if y2 < size[1] else torch.full_like(y, -math.inf)
    )
    return torch.hypot(across.clamp(min=0), down.clamp(min=0)) + torch.maximum(across, down).clamp(max=0)


def _ellipse_distance(x: Tensor, y: Tensor, edges: Box) -> Tensor:
    """How far points are outside an ellipse (inside: negative), to first order.

    With r = |(x/a, y/b)|, r - 1 is 0 on the ellipse; divided by the length of its gradient, |(x/a^2, y/b^2)| / r, it
    is the distance near the ellipse (Taubin 1991, "Estimation of planar curves ...", section on approximate distance).
    """
    x1, y1, x2, y2 = edges
    a, b = (x2 - x1) / 2, (y2 - y1) / 2
    u, v = (x - (x1 + x2) / 2) / a, (y - (y1 + y2) / 2) / b
    radius = torch.hypot(u, v)
    slope = torch.hypot(u / a, v / b)
    at_centre = torch.full_like(radius, -min(a, b))
    return torch.where(slope > 0, radius * (radius - 1) / slope.clamp(min=1e-12), at_centre)

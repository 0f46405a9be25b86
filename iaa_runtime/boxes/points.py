"""Points inside boxes, as SAM 2's and SAM 3's nodes and KJNodes' points editor write the places of a thing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..config.boxes import MOST_PER_SIDE
from ..errors import Cancel, InputError, check_cancelled
from .bounding_box import corners

Point = dict[str, int]
"""``x`` and ``y`` of a pixel, counted from the picture's top left one, 0."""


def box_points(box: Mapping[str, Any], per_side: int = 1) -> list[Point]:
    """Points spread evenly inside a box: at ``i / (per_side + 1)`` of its width and height, for i = 1 … ``per_side``.

    Args:
        box: ``x, y, width, height`` in pixels.
        per_side: 1 is the centre alone, n a grid of n x n; up to ``MOST_PER_SIDE``.

    Returns:
        The pixels that hold the points, row by row. In a box of fewer pixels than points, some are the same.

    Raises:
        InputError: ``per_side`` is less than 1 or more than ``MOST_PER_SIDE``.
    """
    if not 1 <= per_side <= MOST_PER_SIDE:
        raise InputError(f"There are to be {per_side} points a side of a box. Ask for 1 to {MOST_PER_SIDE}.")
    x1, y1, x2, y2 = corners(box)
    parts = [number / (per_side + 1) for number in range(1, per_side + 1)]
    return [
        {"x": math.floor(x1 + across * (x2 - x1)), "y": math.floor(y1 + down * (y2 - y1))}
        for down in parts
        for across in parts
    ]


def points_json(boxes: Iterable[Mapping[str, Any]], per_side: int = 1, cancelled: Cancel = None) -> str:
    """The points of boxes of one image as text, ``[{"x": 12, "y": 34}, …]``.

    That is what ``positive_coords`` of ComfyUI's SAM3_Detect, ``coordinates_positive`` of the segment-anything-2 nodes
    and ``coordinates`` of KJNodes' points editor take. They look for one thing at all of the points, if not told
    otherwise.

    Args:
        boxes: as for :func:`box_points`.
        per_side: as for :func:`box_points`.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.
    """
    texts = []
    for box in boxes:
        check_cancelled(cancelled)
        texts += [json.dumps(point) for point in box_points(box, per_side)]
    return f"[{', '.join(texts)}]"

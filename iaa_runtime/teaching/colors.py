"""Whether a thing's colour is part of what it is: a mascot is green, and a heart of any colour is a heart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..boxes.geometry import Box
from ..errors import Cancel, check_cancelled
from .examples import Shown

LEAST_BOXES = 8
"""Fewer tell nothing about what else there may be."""
ALIKE = 0.5
"""Hues whose mean on the circle is longer than this are of one colour; for hues of all sorts it comes near 0."""


def colors_vary(pictures: Sequence[Shown], cancelled: Cancel = None) -> bool:
    """Whether the things of every phrase come in so many hues that any hue would do.

    A hue counts by its saturation: things that are grey in every picture have a colour, too, and no hue to be turned.
    ``cancelled`` is asked before each picture.
    """
    hues: dict[str, list[complex]] = {}
    for shown in pictures:
        check_cancelled(cancelled)
        picture = None
        for example in shown.examples:
            for box in example.boxes:
                picture = shown.load() if picture is None else picture
                hues.setdefault(example.asked, []).append(_hue(picture, box))
    return bool(hues) and all(len(found) >= LEAST_BOXES and _length(found) < ALIKE for found in hues.values())


def _length(hues: Sequence[complex]) -> float:
    """Length of the mean hue, 0 to 1, of those that are no greys (the resultant length of directional statistics)."""
    weight = sum(map(abs, hues))
    return abs(sum(hues)) / weight if weight > 0.1 * len(hues) else 1.0


def _hue(picture: Image.Image, box: Box) -> complex:
    """The median colour of a box's inner half, as a direction on the circle of hues that is as long as it is vivid."""
    x1, y1, x2, y2 = box
    quarter = (x2 - x1) / 4, (y2 - y1) / 4
    left, top = math.floor(x1 + quarter[0]), math.floor(y1 + quarter[1])
    right, bottom = max(left + 1, math.ceil(x2 - quarter[0])), max(top + 1, math.ceil(y2 - quarter[1]))
    pixels = np.asarray(picture.crop((left, top, right, bottom)).convert("RGB")).reshape(-1, 3)
    color = tuple(int(value) for value in np.median(pixels, axis=0))
    hue, saturation, value = Image.new("RGB", (1, 1), color).convert("HSV").getpixel((0, 0))  # type: ignore[misc]
    angle, vivid = hue / 256 * 2 * math.pi, saturation * value / 255**2
    return complex(vivid * math.cos(angle), vivid * math.sin(angle))

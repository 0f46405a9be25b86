"""Resizes rows of a picture that stand in longer rows of one colour, bicubic and with Pillow's bytes.

Columns are the rows of the transposed picture: Pillow, too, resizes one after the other and rounds to 8 bits between.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import Cancel
from .picture import Picture
from .strips import strips

Color = tuple[int, int, int]

_BITS = 22
_NARROW = 4
"""How many times longer than the picture's part a row is that is faster to resize without the rest of it."""


class PaddedRows:
    """Resizes whole rows: ``width`` pixels that begin at ``left``, in rows of ``length``, which become ``size``.

    Attributes:
        start: The first pixel of a resized row in which the picture may show.
        count: How many pixels there are from there on.
        work: Pixels of a row that are worked on.
    """

    def __init__(self, length: int, size: int, left: int, width: int, color: Color) -> None:
        self.start, self.count, self.work = 0, size, length
        self._left, self._color = left, color

    def __call__(self, rows: Image.Image) -> Image.Image:
        """RGB rows of the picture, resized from ``start`` on."""
        if rows.width < self.work:
            padded = Image.new("RGB", (self.work, rows.height), self._color)
            padded.paste(rows, (self._left, 0))
            rows = padded
        return rows.resize((self.count, rows.height), Image.Resampling.BICUBIC)


class NarrowRows:
    """Does the same for the pixels in which the picture shows; all others have the colour around it.

    Of a page of 1080 x 30000 in its square, Pillow would shrink 900 million pixels, 32 million of which are the page's.
    The arithmetic is that of Pillow's ``Resample.c``: weights of 22 bits, sums rounded once.
    """

    def __init__(self, length: int, size: int, left: int, width: int, color: Color) -> None:
        positions, weights = _bicubic(length, size)
        inside = (positions >= left) & (positions < left + width) & (weights != 0)
        (shown,) = np.nonzero(inside.any(axis=1))
        self.start, self.count, self.work = int(shown[0]), int(shown[-1] - shown[0]) + 1, width
        part = slice(self.start, self.start + self.count)
        positions, weights, inside = positions[part], weights[part], inside[part]
        self._weights = np.zeros((width, self.count))
        pixel, tap = np.nonzero(inside)
        self._weights[positions[pixel, tap] - left, pixel] = weights[pixel, tap]
        around = weights.sum(axis=1) - self._weights.sum(axis=0)
        self._around = around * np.array(color)[:, None, None] + (1 << (_BITS - 1))

    def __call__(self, rows: Image.Image) -> Image.Image:
        """RGB rows of the picture, resized from ``start`` on. Sums of whole numbers are exact in float64."""
        channels = np.moveaxis(np.asarray(rows), 2, 0).astype(np.float64)
        sums = np.floor((channels @ self._weights + self._around) / (1 << _BITS)).clip(0, 255)
        return Image.fromarray(np.ascontiguousarray(np.moveaxis(sums, 0, 2), dtype=np.uint8))


def resize_in(
    image: Picture, length: int, left: int, size: int, color: Color = (0, 0, 0), cancelled: Cancel = None
) -> tuple[Image.Image, int]:
    """Resizes the rows of an RGB image inside longer rows of one colour, a strip at a time.

    Args:
        image: (width, height) pixels.
        length: Pixels of a whole row.
        left: Where the image begins in it.
        size: Pixels that it becomes.
        color: Around the image.
        cancelled: Asked before each strip.

    Returns:
        The part of the resized rows in which the image shows, and the pixel at which it begins; the others are all of
        ``color``.
    """
    resize = (NarrowRows if length >= _NARROW * image.width else PaddedRows)(length, size, left, image.width, color)
    resized = Image.new("RGB", (resize.count, image.height))
    for box in strips(image.size, cancelled, resize.work):
        resized.paste(resize(image.crop(box)), (0, box[1]))
    return resized, resize.start


def _bicubic(length: int, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which pixels make each of ``size`` pixels and their weights, whole numbers of 22 bits: both (size, taps)."""
    scale = length / size
    stretch = max(scale, 1.0)
    centres = ((np.arange(size) + 0.5) * scale)[:, None]
    first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), length)
    positions = first + np.arange(2 * math.ceil(2 * stretch) + 1)
    x = np.abs((positions - centres + 0.5) * (1 / stretch))
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weights = np.where(x < 1, near, np.where(x < 2, far, 0)) * (positions < last)
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # which sums from left to right, as Pillow does
    return positions, np.trunc(weights * (1 << _BITS) + np.where(weights < 0, -0.5, 0.5))

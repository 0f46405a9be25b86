"""Large pictures a few rows at a time, so that little memory is taken beside them and Cancel is heard."""

from __future__ import annotations

from collections.abc import Iterator

from ..boxes.geometry import Rectangle
from ..errors import Cancel, InputError, check_cancelled

MAX_PIXELS = 178_956_970
"""Of a picture in a file: Pillow's own limit against files that unfold to gigabytes, which programs may have lifted."""
MAX_RATIO, FREE_SIDE = 200, 65_535

STRIP_PIXELS = 1 << 20
"""A few hundredths of a second, and tens of megabytes in floats."""


def strips(
    size: tuple[int, int], cancelled: Cancel = None, width: int = 0, pixels: int = STRIP_PIXELS
) -> Iterator[Rectangle]:
    """Whole rows of a picture, from top to bottom.

    Args:
        size: (width, height) of the picture.
        cancelled: Asked before each strip.
        width: Of the rows that are worked on, where that is more than the picture's.
        pixels: Of a strip, about.

    Yields:
        (0, top, width, bottom).
    """
    rows = max(1, pixels // max(width, size[0]))
    for top in range(0, size[1], rows):
        check_cancelled(cancelled)
        yield 0, top, size[0], min(top + rows, size[1])


def check_pixels(size: tuple[int, int], name: str) -> None:
    """Raises :class:`InputError` where the picture in the file ``name`` is too large to be opened."""
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"{name} has too many pixels to be opened safely: {size[0]} x {size[1]}, where {MAX_PIXELS} are the most. "
            "Make it smaller."
        )


def check_shape(size: tuple[int, int], name: str = "The image") -> None:
    """Raises :class:`InputError` for a picture so long and thin that a square shows nothing of it."""
    if max(size) > FREE_SIDE and max(size) > MAX_RATIO * min(size):
        raise InputError(
            f"{name} is too long and thin: {size[0]} x {size[1]}. Above {FREE_SIDE} pixels, the longer side may be at "
            f"most {MAX_RATIO} times the shorter one; cut it into parts."
        )

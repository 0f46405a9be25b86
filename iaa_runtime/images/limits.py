"""How large and how long a picture may be: above that it is refused in a sentence, before it takes memory or time."""

from __future__ import annotations

from PIL import Image

from ..errors import InputError

MAX_PIXELS = 178_956_970
"""Of a picture in a file: Pillow's own limit against files that unfold to gigabytes, which programs may have lifted."""
MAX_RATIO, FREE_SIDE = 200, 65_535
"""Sides of a picture that is longer than ``FREE_SIDE`` pixels may be as one to ``MAX_RATIO``."""

SLOW_PIXELS = 1 << 22
"""Of a picture that Pillow decodes in Python, a second for a million pixels: QOI, rare kinds of PPM and DDS."""

GREEDY_PIXELS = {"WEBP": 30_000_000, "JPEG2000": 15_000_000}
"""Of pictures whose decoders take 18 and 25 bytes a pixel, where 12, and 200 MB, are to be the most."""


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


def check_decoder(image: Image.Image, name: str) -> None:
    """Raises :class:`InputError` where the opened file ``name`` would take minutes to decode, or much memory."""
    slow = any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ()))
    most, what = SLOW_PIXELS if slow else MAX_PIXELS, "minutes"
    if image.format in GREEDY_PIXELS:
        most, what = GREEDY_PIXELS[image.format], "much memory"
    if image.width * image.height > most:
        raise InputError(
            f"{name} is {image.width} x {image.height} pixels of a kind that would take {what} to decode "
            f"({image.format}); {most:,} are the most of it. Save it as PNG or TIFF."
        )

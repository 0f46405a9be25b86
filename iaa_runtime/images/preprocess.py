"""Prepares pictures for the vision tower: padded to a square, resized, normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..boxes.geometry import square_padding
from ..config import CLIP_MEAN, CLIP_STD
from ..errors import InputError
from .modes import to_rgb

__all__ = ["CLIP_MEAN", "CLIP_STD", "bounded_square", "pad_to_square", "preprocess", "resized_square"]

_STRIP_ROWS = 1024


def preprocess(
    images: Sequence[Image.Image],
    size: int = 336,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> torch.Tensor:
    """Prepares pictures for the vision tower as the published code does.

    Each is padded to a square with the mean colour, resized (bicubic, antialiased, in 8 bits), scaled to 0..1 and
    normalised. Resizing the shortest edge and cropping the centre, the usual end of CLIP's recipe, is one resize here.

    Args:
        images: B pictures of any sizes; other modes than RGB are converted as :func:`~.load.load_image` does.
        size: Edge of the tower's input in pixels.
        mean: Per-channel mean, RGB, of values in 0..1.
        std: Per-channel standard deviation, likewise.

    Returns:
        Pixel values, (B, 3, size, size), float32, on the CPU.

    Raises:
        InputError: If there is no picture, or one has no pixels.
    """
    if not images:
        raise InputError("There is no image to prepare. Give at least one.")
    squares = [resized_square(to_rgb(image, image.format), size, mean) for image in images]
    pixels = torch.from_numpy(np.stack(list(map(np.asarray, squares)))).permute(0, 3, 1, 2).contiguous() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def pad_to_square(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """Centres an RGB image on a square of ``color``; an odd pixel of border goes right or below."""
    side, left, top = square_padding(image.size)
    square = Image.new("RGB", (side, side), color)
    square.paste(image, (left, top))
    return square


def bounded_square(image: Image.Image, largest: int) -> Image.Image:
    """Pads an RGB image to a square with CLIP's mean colour, at most ``largest`` pixels wide."""
    if max(image.size) <= largest:
        return pad_to_square(image, _color(CLIP_MEAN))
    return resized_square(image, largest)


def resized_square(image: Image.Image, size: int, mean: Sequence[float] = CLIP_MEAN) -> Image.Image:
    """Pads an RGB image to a square with the mean colour and resizes it to ``size``, without holding the large square.

    Pillow resizes rows, then columns. Doing the rows a strip at a time gives the same bytes and keeps a long thin
    picture (65000 x 10 is a file of 2 kB) from asking for 17 GB.
    """
    side, left, top = square_padding(image.size)
    color = _color(mean)
    narrowed = Image.new("RGB", (size, side), color)
    for y in range(0, image.height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, image.height - y)
        strip = Image.new("RGB", (side, rows), color)
        strip.paste(image.crop((0, y, image.width, y + rows)), (left, 0))
        narrowed.paste(strip.resize((size, rows), Image.Resampling.BICUBIC), (0, top + y))
    return narrowed.resize((size, size), Image.Resampling.BICUBIC)


def _color(mean: Sequence[float]) -> tuple[int, int, int]:
    """The colour of the padding, RGB of 0..255: cut off to integers, not rounded, as in the published code."""
    red, green, blue = (int(channel * 255) for channel in mean)
    return red, green, blue

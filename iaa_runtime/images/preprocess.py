"""Prepares pictures for the vision tower: padded to a square, resized, normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..boxes.geometry import square_padding
from ..config import CLIP_MEAN, CLIP_STD
from ..errors import Cancel, InputError
from .limits import check_shape
from .modes import to_rgb
from .picture import ArrayPicture, Picture
from .rows import resize_in

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "bounded",
    "bounded_square",
    "mean_color",
    "pad_to_square",
    "preprocess",
    "resized_square",
]


def preprocess(
    images: Sequence[Picture],
    size: int = 336,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    cancelled: Cancel = None,
) -> torch.Tensor:
    """Prepares pictures for the vision tower as the published code does.

    Each is padded to a square with the mean colour, resized (bicubic, antialiased, in 8 bits), scaled to 0..1 and
    normalised. Resizing the shortest edge and cropping the centre, the usual end of CLIP's recipe, is one resize here.

    Args:
        images: B pictures of any sizes; other modes than RGB are converted as :func:`~.load.load_image` does.
        size: Edge of the tower's input in pixels.
        mean: Per-channel mean, RGB, of values in 0..1.
        std: Per-channel standard deviation, likewise.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every few million pixels.

    Returns:
        Pixel values, (B, 3, size, size), float32, on the CPU.

    Raises:
        InputError: If there is no picture, or one has no pixels or is too long and thin.

    Example:
        >>> preprocess([Image.new("RGB", (640, 480))], size=336).shape
        torch.Size([1, 3, 336, 336])
    """
    if not images:
        raise InputError("There is no image to prepare. Give at least one.")
    squares = [resized_square(_rgb(image, cancelled), size, mean, cancelled) for image in images]
    pixels = torch.from_numpy(np.stack(list(map(np.asarray, squares)))).permute(0, 3, 1, 2).contiguous() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def mean_color(mean: Sequence[float]) -> tuple[int, int, int]:
    """The colour of the padding, RGB of 0..255: cut off to integers, not rounded, as in the published code."""
    red, green, blue = (int(channel * 255) for channel in mean)
    return red, green, blue


def pad_to_square(image: Picture, color: tuple[int, int, int]) -> Image.Image:
    """Centres an RGB image on a square of ``color``; an odd pixel of border goes right or below."""
    side, left, top = square_padding(image.size)
    square = Image.new("RGB", (side, side), color)
    square.paste(image.crop((0, 0, *image.size)), (left, top))
    return square


def bounded_square(image: Picture, largest: int) -> Image.Image:
    """Pads an RGB image to a square with CLIP's mean colour, at most ``largest`` pixels wide."""
    if max(image.size) <= largest:
        return pad_to_square(image, mean_color(CLIP_MEAN))
    return resized_square(image, largest)


def bounded(image: Picture, largest: int, cancelled: Cancel = None) -> Image.Image:
    """An RGB image, shrunk where a side is longer than ``largest`` pixels; the other keeps at least one."""
    scale = min(1.0, largest / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    narrowed, _ = resize_in(image, image.width, 0, width, cancelled=cancelled)
    turned, _ = resize_in(_turned(narrowed), image.height, 0, height, cancelled=cancelled)
    return _turned(turned)


def resized_square(
    image: Picture, size: int, mean: Sequence[float] = CLIP_MEAN, cancelled: Cancel = None
) -> Image.Image:
    """Pads an RGB image to a square with the mean colour and resizes it to ``size``, without holding the large square.

    A long thin picture (65000 x 10 is a file of 2 kB) would ask for 17 GB. Bytes are Pillow's and not those of torch,
    whose antialiased bicubic on uint8 differs in up to a quarter of them where it enlarges, and in 2 to 7 of a thousand
    where it shrinks: published answers come from Pillow's.
    """
    check_shape(image.size)
    side, left, top = square_padding(image.size)
    color = mean_color(mean)
    narrowed, x = resize_in(image, side, left, size, color, cancelled)
    turned, y = resize_in(_turned(narrowed), side, top, size, color, cancelled)
    square = Image.new("RGB", (size, size), color)
    square.paste(_turned(turned), (x, y))
    return square


def _turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.TRANSPOSE)


def _rgb(image: Picture, cancelled: Cancel) -> Picture:
    return image if isinstance(image, ArrayPicture) else to_rgb(image, image.format, cancelled)

"""Converts images of any Pillow mode, and arrays of any dtype, to 8-bit RGB.

Symbols: H, W, C are an array's height, width and channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import InputError

_WIDE_GREY_FORMATS = frozenset({"PNG", "PPM"})


def to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """Converts any of Pillow's modes to RGB; ``file_format`` is that of the file that it comes from, if known."""
    if min(image.size) < 1:
        raise InputError(f"The image has no pixels: it is {image.width} x {image.height}. Give another.")
    if image.mode.startswith("I") or image.mode == "F":
        grey = _to_uint8(np.asarray(image), _grey_white(image, file_format))
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Converts an (H, W) or (H, W, C) array to an RGB image."""
    channels_last = array[..., None] if array.ndim == 2 else array
    if channels_last.ndim != 3 or channels_last.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"An image array is (height, width) or (height, width, 1, 3 or 4 channels), but this one is {array.shape}. "
            "Give the images of a batch one at a time, with the channels last."
        )
    pixels = _array_to_uint8(channels_last)
    return to_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), None)


def _grey_white(image: Image.Image, file_format: str | None) -> float:
    """The value that means white in a grey image of more than 8 bits.

    Modes ``I`` and ``F`` do not say their range, so it is the smallest usual one that holds the brightest pixel. Only
    the mode ``I`` of older Pillows for a 16-bit PNG is known.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in _WIDE_GREY_FORMATS):
        return 65535.0
    values = np.asarray(image, dtype=np.float64)
    brightest = float(values.max(initial=0.0, where=np.isfinite(values)))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)


def _array_to_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scales an array of any dtype that pictures come in to 8 bits."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.uint16:
        return _to_uint8(array, 65535.0)
    if array.dtype == np.bool_:
        return _to_uint8(array, 1.0)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"An image array of {array.dtype} has no known range. Convert it to uint8 or to floats in 0..1."
        )
    # Sharpening overshoots 1 a little and light sources may far; but no picture in 0..1 does so on the whole.
    finite = np.where(np.isfinite(array), array, 0)
    if finite.mean(dtype=np.float64) > 2:
        raise InputError(f"A float image is 0..1, but this one reaches {finite.max():g}. Divide it by 255.")
    return _to_uint8(array, 1.0)


def _to_uint8(values: npt.NDArray[Any], white: float) -> npt.NDArray[np.uint8]:
    """Scales 0..``white`` to 0..255, rounded; NaN becomes black, what lies outside is clipped."""
    scaled = np.nan_to_num(values.astype(np.float64) * (255 / white), nan=0.0, posinf=255.0, neginf=0.0)
    pixels: npt.NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return pixels

"""Converts images of any Pillow mode to RGB, and floats to 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..errors import Cancel, InputError
from .strips import strips

_WIDE_GREY_FORMATS = frozenset({"PNG", "PPM"})


def to_rgb(image: Image.Image, file_format: str | None, cancelled: Cancel = None) -> Image.Image:
    """Converts any of Pillow's modes to RGB; an image in RGB already is returned itself.

    Args:
        image: Of any mode; it is left as it is.
        file_format: That of the file that it comes from, if known.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`.
    """
    if min(image.size) < 1:
        raise InputError(f"The image has no pixels: it is {image.width} x {image.height}. Give another.")
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    white = _grey_white(image, file_format, cancelled) if _is_wide_grey(image) else None
    whole = Image.new("RGB", image.size)
    for box in strips(image.size, cancelled):
        whole.paste(_strip_to_rgb(image.crop(box), white), box)
    return whole


def to_bytes(values: npt.NDArray[Any], white: float = 1.0) -> npt.NDArray[np.uint8]:
    """Scales 0..``white`` to 0..255, rounded; NaN becomes black, what lies outside is clipped.

    In numpy and not in torch, whose threads wait for each other at each of these steps: on two busy cores, 8192 x 8192
    pixels took it 1 to 6 seconds, and numpy half a second.
    """
    scaled: npt.NDArray[Any] = np.fmax(values, 0, dtype=np.float32 if values.dtype == np.float32 else np.float64)
    if white != 1:
        scaled /= white
    np.fmin(scaled, 1, out=scaled)
    scaled *= 255
    np.rint(scaled, out=scaled)
    return scaled.astype(np.uint8)


def device_bytes(values: Tensor) -> Tensor:
    """The same of floats in 0..1 on an accelerator, so that a quarter of the bytes come from there."""
    return values.float().nan_to_num(0.0).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _strip_to_rgb(image: Image.Image, white: float | None) -> Image.Image:
    if white is not None:
        return Image.fromarray(to_bytes(_wide_values(image), white)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _is_wide_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _wide_values(image: Image.Image) -> npt.NDArray[Any]:
    """The pixels of a grey image of more than 8 bits: int32 where float32 might not hold them."""
    return np.asarray(image, dtype=np.int32 if image.mode == "I" else np.float32)


def _grey_white(image: Image.Image, file_format: str | None, cancelled: Cancel) -> float:
    """The value that means white in a grey image of more than 8 bits.

    Modes ``I`` and ``F`` do not say their range, so it is the smallest usual one that holds the brightest pixel. Only
    the mode ``I`` of older Pillows for a 16-bit PNG is known.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in _WIDE_GREY_FORMATS):
        return 65535.0
    brightest = 0.0
    for box in strips(image.size, cancelled):
        values = _wide_values(image.crop(box))
        brightest = max(brightest, float(values.max(initial=0, where=np.isfinite(values))))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)

"""Resizes images in floats, without passing through 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..errors import Cancel, InputError
from .strips import strips

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
"""Pillow's filters, which all take in every source pixel when they shrink (``nearest`` excepted)."""


def resample(image: Tensor, size: tuple[int, int], method: str, cancelled: Cancel = None) -> Tensor:
    """Resizes an image in floats.

    Args:
        image: (H, W, C) in 0..1.
        size: (width, height) wanted.
        method: A name of ``FILTERS``.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every few million pixels.

    Returns:
        (height, width, C) of the same dtype and device; the same tensor if the size is right already, otherwise clamped
        to 0..1, beyond which bicubic and lanczos overshoot.

    Raises:
        InputError: If there is no such filter.
    """
    if method not in FILTERS:
        raise InputError(f"There is no filter {method!r}. Choose one of: {', '.join(FILTERS)}.")
    if (image.shape[1], image.shape[0]) == size:
        return image
    resized = np.empty((size[1], size[0], image.shape[2]), np.float32)
    for channel in range(image.shape[2]):
        _resize(image.detach()[..., channel], resized[..., channel], FILTERS[method], cancelled)
    return torch.from_numpy(resized).clamp_(0, 1).to(image)


def _resize(source: Tensor, target: npt.NDArray[np.float32], method: Image.Resampling, cancelled: Cancel) -> None:
    """Resizes a channel (H, W) into another array: rows, then columns, some of them at a time."""
    height, width = target.shape
    narrowed = np.empty((source.shape[0], width), np.float32)
    for _, top, _, bottom in strips((source.shape[1], source.shape[0]), cancelled, width):
        rows = Image.fromarray(source[top:bottom].to("cpu", torch.float32).contiguous().numpy())
        narrowed[top:bottom] = np.asarray(rows.resize((width, bottom - top), method))
    for _, left, _, right in strips((source.shape[0], width), cancelled, height):
        columns = Image.fromarray(np.ascontiguousarray(narrowed[:, left:right]))
        target[:, left:right] = np.asarray(columns.resize((right - left, height), method))

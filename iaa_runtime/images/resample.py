"""Resizes images in floats, without passing through 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..errors import Cancel, InputError
from .strips import STRIP_PIXELS, strips

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
    # Calls of Pillow cost more than a small image, so its channels go together; a large one takes less memory apart.
    together = image.shape[2] if max(image.numel(), resized.size) <= STRIP_PIXELS else 1
    for first in range(0, image.shape[2], together):
        channels = slice(first, first + together)
        _resize(image.detach()[..., channels], resized[..., channels], FILTERS[method], cancelled)
    return torch.from_numpy(resized).clamp_(0, 1).to(image)


def _resize(source: Tensor, target: npt.NDArray[np.float32], method: Image.Resampling, cancelled: Cancel) -> None:
    """Resizes (H, W, C) into another array: rows, then columns, some of them at a time; channels one below another."""
    height, width, channels = target.shape
    narrowed = np.empty((channels, source.shape[0], width), np.float32)
    for _, top, _, bottom in strips((source.shape[1], source.shape[0]), cancelled, width):
        rows = source[top:bottom].to("cpu", torch.float32).permute(2, 0, 1).reshape(-1, source.shape[1]).numpy()
        narrower = np.asarray(Image.fromarray(rows).resize((width, len(rows)), method))
        narrowed[:, top:bottom] = narrower.reshape(channels, bottom - top, width)
    for _, left, _, right in strips((source.shape[0], width), cancelled, height):
        columns = narrowed[..., left:right].transpose(1, 0, 2).reshape(source.shape[0], -1)
        lower = np.asarray(Image.fromarray(columns).resize((columns.shape[1], height), method))
        target[:, left:right] = lower.reshape(height, channels, right - left).transpose(0, 2, 1)

"""Large pictures a few rows at a time, so that little memory is taken beside them and Cancel is heard."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..boxes.geometry import Rectangle
from ..errors import Cancel, check_cancelled

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


def copied(images: Tensor, cancelled: Cancel = None) -> Tensor:
    """A copy of images (B, H, W, C), contiguous; raises :class:`~iaa_runtime.errors.Cancelled` between two strips."""
    copy = torch.empty(images.shape, dtype=images.dtype, device=images.device)
    count, height, width = images.shape[:3]
    for _, top, _, bottom in strips((width, height), cancelled, count * width):
        copy[:, top:bottom] = images[:, top:bottom]
    return copy

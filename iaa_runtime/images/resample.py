"""Resizes images in floats, without passing through 8 bits."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
"""Pillow's filters, which all take in every source pixel when they shrink (``nearest`` excepted)."""


def resample(image: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """Resizes an image in floats.

    Args:
        image: (H, W, C) in 0..1.
        size: (width, height) wanted.
        method: A name of ``FILTERS``.

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
    channels = image.detach().to("cpu", torch.float32).numpy()
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channels[..., channel])).resize(size, FILTERS[method]))
        for channel in range(channels.shape[-1])
    ]
    return torch.from_numpy(np.stack(resized, axis=-1)).clamp(0, 1).to(image)

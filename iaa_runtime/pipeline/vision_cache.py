"""Vision features of the images seen last: an image goes through CLIP once, whatever is asked about it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from .model import IAAModel

REMEMBERED_IMAGES = 64
"""Images whose features are kept in main memory (1.2 MB each in 16 bit at CLIP-L size)."""


class VisionCache:
    """Runs the tower for images that it does not know; the features serve MM and G alike."""

    def __init__(self, model: IAAModel, size: int = REMEMBERED_IMAGES) -> None:
        self._model, self._size = model, size
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def features(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, size, size), preprocessed -> (B, N, mm_hidden_size), running the tower for unknown images alone."""
        keys = [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in pixel_values]
        new = {key: number for number, key in enumerate(keys) if key not in self._known}
        if new:
            computed = self._model.vision_features(pixel_values[list(new.values())])
            self._known.update(zip(new, computed.cpu(), strict=True))
        for key in keys:
            self._known.move_to_end(key)
        found = torch.stack([self._known[key] for key in keys])
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forgets every image."""
        self._known.clear()

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from iaa_runtime.images import resample as module
from iaa_runtime.images.resample import FILTERS, resample


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [(9, 70), (64, 64), (50, 3)])
def test_a_small_image_is_resized_as_its_channels_are(
    monkeypatch: pytest.MonkeyPatch, method: str, size: tuple[int, int]
) -> None:
    image = torch.rand(40, 50, 4)
    together = resample(image, size, method)
    assert torch.equal(together, torch.cat([resample(image[..., i : i + 1], size, method) for i in range(4)], dim=-1))
    monkeypatch.setattr(module, "STRIP_PIXELS", 0)  # a channel at a time, as with large images
    assert torch.equal(together, resample(image, size, method))


def test_a_small_image_is_two_calls_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of 99,000 boxes took minutes, in calls."""
    calls, real = [], Image.Image.resize

    def counted(self: Image.Image, *args: Any, **kwargs: Any) -> Image.Image:
        calls.append(self.size)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", counted)
    resample(torch.rand(40, 50, 3), (64, 64), "lanczos")
    assert len(calls) == 2

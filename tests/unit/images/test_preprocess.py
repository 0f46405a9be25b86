"""The vision tower's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iaa_runtime.errors import InputError
from iaa_runtime.images.load import load_image
from iaa_runtime.images.preprocess import CLIP_MEAN, CLIP_STD, pad_to_square, preprocess

PANDA = Path(__file__).parents[2] / "reference" / "readpanda.jpg"


def rgba_with_hidden_colours() -> Image.Image:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (10, 20, 30, 0), (0, 0, 0, 51)])
    return image


def plainly_preprocessed(image: Image.Image, size: int) -> Any:
    """The definition: pad, resize, scale, normalise, in float64."""
    square = pad_to_square(image, (122, 116, 104)).resize((size, size), Image.Resampling.BICUBIC)
    return ((np.asarray(square) / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([14, 28, 56]), st.integers(0, 2**32 - 1))
def test_preprocess_is_padding_then_resizing(width: int, height: int, size: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = plainly_preprocessed(image, size)
    assert np.abs(preprocess([image], size)[0].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("size", [(2600, 7), (7, 2600), (1030, 2100), (2100, 1030)])
def test_preprocess_of_pictures_larger_than_a_strip(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert np.abs(preprocess([image], 28)[0].numpy() - plainly_preprocessed(image, 28)).max() < 1e-6


@pytest.mark.parametrize("size", [(9000, 3), (3, 9000)])
def test_preprocess_never_holds_the_square_of_a_long_thin_picture(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = []
    new = Image.new

    def measured(mode: str, size: tuple[int, int], *rest: Any) -> Image.Image:
        areas.append(size[0] * size[1])
        return new(mode, size, *rest)

    monkeypatch.setattr(Image, "new", measured)
    preprocess([Image.fromarray(np.zeros((size[1], size[0], 3), dtype=np.uint8))], 28)
    assert areas
    assert max(areas) <= 9000 * 1024


def test_preprocess_of_a_batch_is_that_of_each() -> None:
    images = [Image.open(PANDA), rgba_with_hidden_colours(), Image.new("L", (5, 50), 77)]
    batch = preprocess(images, 28)
    assert (batch.shape, batch.dtype, batch.is_contiguous()) == ((3, 3, 28, 28), torch.float32, True)
    for row, image in zip(batch, images, strict=True):
        assert torch.equal(row, preprocess([image], 28)[0])
        assert torch.equal(row, preprocess([load_image(image)], 28)[0])


def test_preprocess_takes_other_sizes_means_and_deviations() -> None:
    white = Image.new("RGB", (4, 8), "white")
    values = preprocess([white], 8, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    assert values[0, :, 4, 4].tolist() == pytest.approx([1.0, 0.75, 0.5])
    padding = values[0, :, 4, 0].tolist()  # the mean colour, truncated to 8 bits
    assert padding == pytest.approx([(127 / 255 - 0.5) / 0.5, 63 / 255 - 0.25, 0.0], abs=1e-6)
    assert preprocess([white]).shape == (1, 3, 336, 336)


def test_preprocess_needs_an_image() -> None:
    with pytest.raises(InputError, match="no image"):
        preprocess([])


@pytest.mark.parametrize(
    ("size", "corner"), [((5, 2), (0, 1)), ((2, 5), (1, 0)), ((4, 7), (1, 0)), ((3, 3), (0, 0)), ((1, 1), (0, 0))]
)
def test_pad_to_square_puts_the_odd_pixel_right_or_below(size: tuple[int, int], corner: tuple[int, int]) -> None:
    side = max(size)
    square = np.asarray(pad_to_square(Image.new("RGB", size, "red"), (1, 2, 3)))
    expected = np.full((side, side, 3), (1, 2, 3))
    x, y = corner
    expected[y : y + size[1], x : x + size[0]] = (255, 0, 0)
    assert square.tolist() == expected.tolist()

"""Every mode of Pillow's, every array and tensor, as 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import CORNERS, PANDA, UPRIGHT, pixels, saved
from PIL import Image

from iaa_runtime.errors import InputError
from iaa_runtime.images.load import load_image, to_pil


def rgba_with_hidden_colours() -> Image.Image:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (10, 20, 30, 0), (0, 0, 0, 51)])
    return image


def palette_with_transparency() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 10, 20, 30, 0, 0, 0])
    image.putdata([0, 1, 2])
    image.info["transparency"] = bytes([255, 0, 51])
    return image


def grey_with_alpha() -> Image.Image:
    image = Image.new("LA", (3, 1))
    image.putdata([(100, 255), (10, 0), (0, 51)])
    return image


ON_WHITE = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]


@pytest.mark.parametrize(
    ("image", "file_format", "expected"),
    [
        (rgba_with_hidden_colours(), "PNG", ON_WHITE),
        (rgba_with_hidden_colours(), "WEBP", ON_WHITE),
        (rgba_with_hidden_colours(), "TIFF", ON_WHITE),
        (palette_with_transparency(), "PNG", ON_WHITE),
        (grey_with_alpha(), "PNG", [[[100] * 3, [255] * 3, [204] * 3]]),
    ],
    ids=["RGBA PNG", "RGBA WebP", "RGBA TIFF", "palette PNG", "LA PNG"],
)
def test_transparency_is_laid_on_white(image: Image.Image, file_format: str, expected: Any) -> None:
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    assert pixels(load_image(saved(image, file_format, **options))) == expected
    assert pixels(load_image(image)) == expected


@pytest.mark.parametrize(("mode", "key"), [("RGB", (0, 0, 0)), ("L", 0), ("1", 0)])
def test_a_transparent_key_colour_is_laid_on_white(mode: str, key: Any) -> None:
    """PNG's tRNS chunk makes one colour transparent without an alpha channel."""
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), (0, 0, 255) if mode == "RGB" else 255)
    expected = [[[255, 255, 255], [0, 0, 255] if mode == "RGB" else [255] * 3]]
    assert pixels(load_image(saved(image, "PNG", transparency=key))) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (rgba_with_hidden_colours().convert("RGBa"), ON_WHITE),
        (grey_with_alpha().convert("La"), [[[100] * 3, [255] * 3, [204] * 3]]),
        (palette_with_transparency().convert("PA"), ON_WHITE),
    ],
    ids=["RGBa", "La", "PA"],
)
def test_rare_modes_with_alpha(image: Image.Image, expected: Any) -> None:
    assert pixels(load_image(image)) == expected


def test_opaque_alpha_changes_no_pixel() -> None:
    photo = Image.open(PANDA).convert("RGB").resize((64, 48))
    assert pixels(load_image(photo.convert("RGBA"))) == pixels(photo)


def test_a_palette_without_transparency() -> None:
    image = Image.open(saved(UPRIGHT.quantize(8), "PNG"))
    assert image.mode == "P"
    assert pixels(load_image(image)) == CORNERS.tolist()


def grey(*values: int) -> Any:
    return [[[value] * 3 for value in values]]


RAMP_16 = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(file_format: str) -> None:
    assert pixels(load_image(saved(Image.fromarray(RAMP_16), file_format))) == grey(0, 1, 128, 255)


def test_a_dark_picture_of_16_bits_stays_dark() -> None:
    dark = Image.fromarray(np.array([[0, 100, 200]], dtype=np.uint16))
    assert pixels(load_image(saved(dark, "PNG"))) == grey(0, 0, 1)


def test_a_dark_16_bit_png_stays_dark_where_pillow_reads_it_in_32_bits() -> None:
    """Pillow before 11.0 gives mode I for it."""
    image = Image.fromarray(np.array([[0, 100, 200]], dtype=np.int32))
    image.format = "PNG"
    assert pixels(load_image(image)) == grey(0, 0, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], (0, 100, 255)),
        ([0, 256, 65535], (0, 1, 255)),
        ([0, 32768], (0, 128)),
        ([0, 50_000, 100_000], (0, 128, 255)),
        ([-70_000, 0, 255], (0, 0, 255)),
    ],
)
def test_grey_of_32_bits_is_scaled_by_what_it_holds(values: list[int], expected: tuple[int, ...]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.int32))
    assert image.mode == "I"
    assert pixels(load_image(image)) == grey(*expected)
    assert pixels(load_image(saved(image, "TIFF"))) == grey(*expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], (0, 128, 255)),
        ([0.0, 0.25], (0, 64)),
        ([0.0, 1.5, 255.0], (0, 2, 255)),
        ([0.0, 32768.0, 65535.0], (0, 128, 255)),
        ([0.0, 1e6, 2e6], (0, 128, 255)),
        ([np.nan, -np.inf, -3.0, np.inf, 1.0], (0, 0, 0, 255, 255)),
        ([np.nan], (0,)),
    ],
)
def test_grey_floats_are_scaled_by_what_they_hold(values: list[float], expected: tuple[int, ...]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert image.mode == "F"
    assert pixels(load_image(image)) == grey(*expected)


def test_one_bit() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(load_image(saved(image, "PNG"))) == grey(0, 255)


def test_cmyk_jpeg() -> None:
    photo = Image.new("RGB", (16, 16), (200, 30, 60))
    image = load_image(saved(photo.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() < 8


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    image = load_image(
        Image.new("RGB", (2, 2), (200, 30, 60)).convert("YCbCr") if mode == "YCbCr" else Image.new(mode, (2, 2))
    )
    assert (image.mode, image.size) == ("RGB", (2, 2))


def test_a_given_image_is_left_alone() -> None:
    image = rgba_with_hidden_colours()
    before = image.tobytes()
    load_image(image)
    assert (image.mode, image.tobytes()) == ("RGBA", before)


# Arrays and tensors --------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_every_way_to_hold_a_picture_gives_the_same(height: int, width: int, channels: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    expected = np.broadcast_to(values, (height, width, 3)).tolist()
    held: list[Any] = [values, torch.from_numpy(values), values[::-1].copy()[::-1], values.astype(np.uint16) * 257]
    held += [values / 255, (values / 255).astype(np.float32), torch.from_numpy(values).float() / 255]
    held += [torch.from_numpy(values).float().div(255).requires_grad_()]
    if channels == 1:
        held += [values[..., 0], torch.from_numpy(values[..., 0])]
    for image in held:
        assert pixels(to_pil(image)) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_other_float_types(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[[0.0, 0.5, 1.0]]], dtype=dtype)
    assert pixels(to_pil(tensor)) == [[[0, 128, 255]]]


def test_floats_outside_0_to_1_are_clipped() -> None:
    tensor = torch.tensor([[[-0.5, 1.01, 0.2], [float("nan"), float("inf"), -float("inf")]]])
    assert pixels(to_pil(tensor)) == [[[0, 255, 51], [0, 255, 0]]]


def test_one_bright_light_does_not_make_a_picture_one_of_0_to_255() -> None:
    tensor = torch.full((8, 8, 3), 0.2)
    tensor[0, 0] = 30.0
    assert pixels(to_pil(tensor))[0][:2] == [[255] * 3, [51] * 3]


def test_a_fourth_channel_is_alpha() -> None:
    tensor = torch.tensor([[[1.0, 0.0, 0.0, 1.0], [0.2, 0.3, 0.4, 0.0]]])
    assert pixels(to_pil(tensor)) == [[[255, 0, 0], [255, 255, 255]]]


def test_masks_are_black_and_white() -> None:
    assert pixels(to_pil(np.array([[True, False]]))) == grey(255, 0)


def test_to_pil_reads_files_too(tmp_path: Path) -> None:
    UPRIGHT.save(tmp_path / "a.png")
    assert pixels(to_pil(tmp_path / "a.png")) == pixels(to_pil(UPRIGHT)) == CORNERS.tolist()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 3\).*one at a time"),
        (np.zeros((3, 40, 50)), r"\(3, 40, 50\).*channels last"),
        (np.zeros((4, 4, 2)), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3)), r"\(0, 4, 3\)"),
        (np.zeros(4), r"\(4,\)"),
        (np.zeros((2, 2, 3), dtype=np.int64), "int64.*uint8"),
        (np.full((2, 2, 3), 128.0), "reaches 128.*Divide it by 255"),
        (np.zeros((2, 2, 3), dtype=complex), "complex"),
    ],
)
def test_to_pil_refuses_what_is_no_picture(array: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_pil(array)

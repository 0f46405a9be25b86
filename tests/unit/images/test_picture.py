"""Tensors as pictures: converted where they are looked at, a strip at a time."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import UPRIGHT, pixels
from PIL import Image

from iaa_runtime.bench.peak import peak_bytes
from iaa_runtime.boxes.answers import Detection
from iaa_runtime.boxes.crops import CropOptions, cut, plan_crops
from iaa_runtime.boxes.masks import box_masks, union_masks
from iaa_runtime.boxes.paste import paste_crops
from iaa_runtime.errors import Cancelled, InputError
from iaa_runtime.images.draw import crop_detections, draw_detections
from iaa_runtime.images.load import load_image, to_picture, to_pil
from iaa_runtime.images.modes import device_bytes, to_bytes
from iaa_runtime.images.picture import ArrayPicture
from iaa_runtime.images.preprocess import bounded, bounded_square, pad_to_square, preprocess, resized_square
from iaa_runtime.images.strips import STRIP_PIXELS
from iaa_runtime.shapes.scenes import draw_scene, make_scene

CPU = torch.device("cpu")
SIDE = 4096
KINDS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Levels of 8 bits, (H, W, C)."""
    return torch.randint(0, 256, (height, width, channels), generator=torch.Generator().manual_seed(seed)).byte()


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_floats_are_rounded_and_clipped(height: int, width: int, channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0.5, 0.6, (height, width, channels)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = random.choice([np.nan, np.inf, -np.inf])
    exact = np.nan_to_num(values.astype(np.float64) * 255, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255)
    picture = np.asarray(ArrayPicture(torch.from_numpy(values)).whole())
    assert np.abs(picture - np.broadcast_to(exact, picture.shape)).max() < 0.5001
    assert np.array_equal(device_bytes(torch.from_numpy(values)).numpy(), to_bytes(values)), "an accelerator's way"


@pytest.mark.parametrize("dtype", KINDS)
def test_every_float_type_gives_what_its_numbers_say(dtype: torch.dtype) -> None:
    values = (noise(40, 30).float() / 255).to(dtype)
    exact = np.rint(values.double().numpy() * 255)
    assert np.array_equal(np.asarray(ArrayPicture(values).whole()), exact)
    assert np.array_equal(device_bytes(values).numpy(), exact)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1030, 1100), (3, 5), (7, 2600), (2600, 7), (300, 1300)])
def test_a_tensor_is_seen_as_its_8_bit_picture_is(size: tuple[int, int], channels: int) -> None:
    levels = noise(size[1], size[0], channels)
    image = Image.fromarray(levels.numpy() if channels > 1 else levels.numpy()[..., 0])
    picture, plain = ArrayPicture(levels.float() / 255), load_image(image)
    assert (picture.size, picture.width, picture.height) == (size, *size)
    assert picture.whole().tobytes() == plain.tobytes()
    box = (1, 2, 3, 4) if min(size) > 3 else (0, 0, *size)
    assert picture.crop(box).tobytes() == plain.crop(box).tobytes()
    assert torch.equal(preprocess([picture], 28), preprocess([plain], 28))
    for largest in (64, 5000):
        assert bounded(picture, largest).tobytes() == bounded(plain, largest).tobytes()
        assert bounded_square(picture, largest).tobytes() == bounded_square(plain, largest).tobytes()


def test_a_tensor_is_drawn_on_and_cut_as_its_picture_is() -> None:
    levels, found = noise(60, 90), [Detection(10, 20, 30, 25, "it", 0.5)]
    picture, plain = ArrayPicture(levels.float() / 255), Image.fromarray(levels.numpy())
    assert draw_detections(picture, found).tobytes() == draw_detections(plain, found).tobytes()
    assert pixels(crop_detections(picture, found)[0]) == pixels(crop_detections(plain, found)[0])


def test_only_arrays_wait_to_be_converted(tmp_path: Path) -> None:
    UPRIGHT.save(tmp_path / "a.png")
    waiting = to_picture(torch.zeros(2, 3, 3))
    assert isinstance(waiting, ArrayPicture) and to_picture(waiting) is waiting
    assert pixels(to_pil(waiting)) == [[[0, 0, 0]] * 3] * 2
    assert isinstance(to_picture(tmp_path / "a.png"), Image.Image)
    with pytest.raises(InputError, match="Divide it by 255"):
        to_picture(noise(20, 20).float())


@given(st.integers(1, 40), st.integers(4, 12), st.sampled_from([14, 57, 336]), st.integers(0, 2**32 - 1))
def test_narrow_pictures_get_pillows_bytes(width: int, times: int, size: int, seed: int) -> None:
    """They are not resized by Pillow, which would shrink mostly padding."""
    random = np.random.default_rng(seed)
    levels = random.integers(0, 256, (width * times + seed % 7, width, 3), dtype=np.uint8)
    levels = levels if seed % 2 else (levels > 127) * np.uint8(255)
    image = Image.fromarray(levels if seed % 3 else levels.transpose(1, 0, 2))
    square = pad_to_square(image, (122, 116, 104)).resize((size, size), Image.Resampling.BICUBIC)
    assert resized_square(image, size).tobytes() == square.tobytes()


@pytest.mark.parametrize(("size", "larger"), [((300, 200), False), ((4000, 1000), True), ((20, 5000), True)])
def test_bounded_pictures_keep_their_shape(size: tuple[int, int], larger: bool) -> None:
    image = Image.new("RGB", size, (7, 8, 9))
    small = bounded(image, 2048)
    assert small.size == ((round(size[0] * 2048 / max(size)), round(size[1] * 2048 / max(size))) if larger else size)
    assert small.getcolors() == [(small.width * small.height, (7, 8, 9))]


# Memory and time -----------------------------------------------------------------------------------------------------


def peak(run: Callable[[], object]) -> int:
    """Bytes that a run takes at most."""
    taken = peak_bytes(run, CPU)
    if taken is None:
        pytest.skip("this system does not tell a process's peak memory")
    return taken


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_takes_little_beside_itself(dtype: torch.dtype) -> None:
    image = torch.full((SIDE, SIDE, 3), 0.5, dtype=dtype)
    assert peak(lambda: preprocess([to_picture(image)])) < 4 * SIDE * SIDE


@pytest.mark.parametrize(("mode", "ending"), [("I;16", "png"), ("F", "tif"), ("RGBA", "png"), ("RGB", "png")])
def test_a_file_takes_at_most_12_bytes_a_pixel(tmp_path: Path, mode: str, ending: str) -> None:
    Image.new(mode, (SIDE, SIDE)).save(tmp_path / f"large.{ending}")
    assert peak(lambda: preprocess([to_picture(tmp_path / f"large.{ending}")])) < 12 * SIDE * SIDE


def blank_png(width: int, height: int) -> io.BytesIO:
    """A black picture, a small file."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    file.seek(0)
    return file


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1), (1, 100_000), (400, 80_001)])
def test_what_is_too_long_and_thin_is_refused(size: tuple[int, int]) -> None:
    says = f"too long and thin: {size[0]} x {size[1]}.*at most 200 times the shorter"
    with pytest.raises(InputError, match=says):
        load_image(blank_png(*size))
    with pytest.raises(InputError, match=says):
        preprocess([ArrayPicture(torch.zeros(size[1], size[0], 1))], 28)


@pytest.mark.parametrize("size", [(1, 65_535), (65_535, 1), (300, 60_000), (1080, 20_000), (20_000, 1080)])
def test_long_pictures_are_seen_within_2_seconds(size: tuple[int, int]) -> None:
    file = blank_png(*size)
    begin = time.process_time()
    taken = peak(lambda: preprocess([load_image(file)]))
    assert time.process_time() - begin < 2
    assert taken < 12 * size[0] * size[1] + 50e6


def test_too_many_pixels_are_refused_where_a_host_lets_pillow_open_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(InputError, match=r"too many pixels.*20000 x 20000.*Make it smaller"):
        load_image(blank_png(20_000, 20_000))


# Cancel --------------------------------------------------------------------------------------------------------------


def grey(side: int = 2048) -> ArrayPicture:
    return ArrayPicture(torch.full((side, side, 3), 0.5))


BOX = {"x": 10, "y": 10, "width": 2000, "height": 2000}
CROP = plan_crops([[BOX]], (2048, 2048), CropOptions(resize="longer side", size=2048))
SMALL: Any = [{"x": 1, "y": 1, "width": 1, "height": 1}] * 4
IMAGES = torch.full((1, 2048, 2048, 3), 0.5)
PIXELS = 2048 * 2048
SCENE = make_scene(0, long_side=2048, aspect=1)
STAGES: dict[str, tuple[Callable[[Any], object], int]] = {
    "conversion": (lambda cancelled: to_pil(grey(), cancelled), PIXELS),
    "preprocessing": (lambda cancelled: preprocess([grey()], cancelled=cancelled), PIXELS),
    "a PIL image": (lambda cancelled: preprocess([Image.new("F", (2048, 2048))], cancelled=cancelled), 3 * PIXELS),
    "a long picture": (lambda cancelled: resized_square(Image.new("RGB", (100, 20_000)), 28, cancelled=cancelled), 0),
    "a scene": (lambda cancelled: draw_scene(SCENE, cancelled), PIXELS),
    "a preview": (lambda cancelled: bounded(grey(), 100, cancelled), PIXELS),
    "drawing": (lambda cancelled: draw_detections(grey(), [], cancelled), PIXELS),
    "a soft mask": (lambda cancelled: union_masks([[BOX]], (2048, 2048), feather=9, cancelled=cancelled), PIXELS),
    "many boxes": (lambda cancelled: union_masks([SMALL], (64, 64), cancelled=cancelled), 4 * STRIP_PIXELS),
    "a mask a box": (lambda cancelled: box_masks(SMALL, (64, 64), cancelled=cancelled), 4 * STRIP_PIXELS),
    "cropping": (lambda cancelled: cut(IMAGES, CROP.items[0], cancelled), 6 * 2000 * 2000),
    "pasting": (
        lambda cancelled: paste_crops(IMAGES, [torch.zeros(2048, 2048, 3)], CROP, cancelled=cancelled),
        12 * 2000 * 2000,
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_is_heard_every_million_pixels(stage: str) -> None:
    run, work = STAGES[stage]
    asked = []

    def heard(after: int) -> Callable[[], bool]:
        asked.clear()
        return lambda: asked.append(1) or len(asked) > after  # type: ignore[func-returns-value]

    run(heard(10**9))
    often = len(asked)
    assert often >= max(1, work // STRIP_PIXELS)
    for after in (0, often - 1):
        with pytest.raises(Cancelled):
            run(heard(after))

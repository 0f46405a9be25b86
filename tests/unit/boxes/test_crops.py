from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from box_strategies import CROP_OPTIONS, batches, noise
from hypothesis import given
from PIL import Image

from iaa_runtime.boxes.bounding_box import corners, shown
from iaa_runtime.boxes.crops import CropOptions, cut, cut_mask, plan_crops
from iaa_runtime.boxes.geometry import pixel_rectangle
from iaa_runtime.errors import InputError
from iaa_runtime.images.resample import FILTERS, resample

BOX = {"x": 40, "y": 20, "width": 20, "height": 10}


@given(batches(), CROP_OPTIONS)
def test_crops_show_their_boxes(batch: tuple[tuple[int, int], Any], options: CropOptions) -> None:
    size, boxes = batch
    regions = plan_crops(boxes, size, options)
    assert [(region.image, region.box) for region in regions.items] == [
        (image, box) for image, found in enumerate(boxes) for box in shown(found, size)
    ]
    for region in regions.items:
        left, top, right, bottom = region.rectangle
        x1, y1, x2, y2 = pixel_rectangle(corners(region.box), size)
        assert left <= x1 and top <= y1 and right >= x2 and bottom >= y2
        for low, high, limit in ((left, right, size[0]), (top, bottom, size[1])):
            inside = low >= 0 and high <= limit
            around = low <= 0 and high >= limit and abs(-low - (high - limit)) <= 1
            assert inside or (high - low > limit and around)
        assert all(side % options.multiple_of == 0 for side in region.size)
        if options.resize == "off":
            assert region.size == region.extent
        crop = cut(noise(0, len(boxes), size), region)
        mask = cut_mask(region, size)
        assert crop.shape == (region.size[1], region.size[0], 3) and mask.shape == crop.shape[:2]
        assert crop.min() >= 0 and crop.max() <= 1


@given(batches(whole=True), CROP_OPTIONS)
def test_aspects_hold_to_the_pixel(batch: tuple[tuple[int, int], Any], options: CropOptions) -> None:
    size, boxes = batch
    ratio = options.ratio(size)
    for region in plan_crops(boxes, size, options).items:
        if ratio is not None and (options.multiple_of == 1 or options.resize != "off"):
            width, height = region.extent
            assert width == round(height * ratio) or height == round(width / ratio)
    if ratio is not None and options.resize != "off":
        assert len({region.size for region in plan_crops(boxes, size, options).items}) <= 1  # so they make a batch


@given(batches(whole=True))
def test_a_plain_crop_is_the_box(batch: tuple[tuple[int, int], Any]) -> None:
    size, boxes = batch
    images = noise(1, len(boxes), size)
    for region in plan_crops(boxes, size, CropOptions()).items:
        x, y, width, height = (region.box[side] for side in ("x", "y", "width", "height"))
        assert torch.equal(cut(images, region), images[region.image, y : y + height, x : x + width])
        assert cut_mask(region, size).min() == 1


def rectangle(box: dict[str, int], size: tuple[int, int], **options: Any) -> tuple[int, int, int, int]:
    return plan_crops([[box]], size, CropOptions(**options)).items[0].rectangle


def test_where_crops_lie() -> None:
    assert rectangle(BOX, (100, 60)) == (40, 20, 60, 30)
    assert rectangle(BOX, (100, 60), padding=5) == (35, 15, 65, 35)
    assert rectangle(BOX, (100, 60), padding=50, unit="percent") == (30, 15, 70, 35)
    assert rectangle(BOX, (100, 60), padding=12.5, unit="percent") == (37, 18, 63, 32)  # 2.5 and 1.25, outwards
    assert rectangle(BOX, (100, 60), padding=30) == (10, 0, 90, 60)  # cut at the picture
    assert rectangle(BOX, (100, 60), aspect="1:1") == (40, 15, 60, 35)
    assert rectangle({**BOX, "y": 2}, (100, 60), aspect="1:1") == (40, 0, 60, 20)  # shifted into the picture
    assert rectangle(BOX, (100, 60), aspect="as the image") == (40, 19, 60, 31)
    assert rectangle({**BOX, "x": 0, "width": 100}, (100, 60), aspect="1:1") == (0, -20, 100, 80)  # larger than it
    assert rectangle(BOX, (100, 60), multiple_of=16) == (34, 17, 66, 33)


def test_what_crops_are_resized_to() -> None:
    def size(**options: Any) -> tuple[int, int]:
        return plan_crops([[BOX]], (100, 60), CropOptions(**options)).items[0].size

    assert size(resize="longer side", size=512) == (512, 256)
    assert size(resize="shorter side", size=512) == (1024, 512)
    assert size(resize="longer side", size=100, multiple_of=16) == (96, 48)
    assert size(resize="longer side", size=3, multiple_of=16) == (16, 16)
    assert size(resize="longer side", size=512, aspect="3:4", multiple_of=8) == (384, 512)


def test_a_sliver_does_not_fill_memory() -> None:
    """By its shorter side, a box of 1 x 1000 would become 1024 x 1024000 pixels."""

    def size(width: int, height: int, **options: Any) -> tuple[int, int]:
        box = {"x": 0, "y": 0, "width": width, "height": height}
        return plan_crops([[box]], (2000, 2000), CropOptions(resize="shorter side", **options)).items[0].size

    assert size(1, 46) == (178, 8192) and size(46, 1) == (8192, 178)
    assert size(1000, 1) == (8192, 8) and size(1, 1000, multiple_of=64) == (64, 8192)
    assert size(1, 8) == (1024, 8192), "what fits is as asked for"
    assert size(10, 2000, aspect="1:9999") == (1, 8192)
    assert size(20, 1000, size=8192) == (164, 8192) and size(20, 1000, size=9000) == (180, 9000)


def test_an_aspect_does_not_square_a_long_thin_image() -> None:
    box = {"x": 0, "y": 0, "width": 20_000, "height": 10}
    with pytest.raises(InputError, match=r"'1:1' widens a crop.*20000 x 10 to 20000 x 20000.*'aspect' to 'as the box'"):
        plan_crops([[box]], (20_000, 10), CropOptions(aspect="1:1", resize="longer side", size=64))
    assert plan_crops([[box]], (20_000, 10), CropOptions()).items[0].size == (20_000, 10)


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [(700, 900), (40, 30), (1500, 300), (1300, 1900)])
def test_resampling_in_strips_is_resampling(method: str, size: tuple[int, int]) -> None:
    image = noise(4, 1, (1300, 1100), 1)[0]
    whole = np.asarray(Image.fromarray(image[..., 0].numpy()).resize(size, FILTERS[method])).clip(0, 1)
    # Some Pillows resize columns first where that is less work, which rounds elsewhere.
    assert np.abs(resample(image, size, method)[..., 0].numpy() - whole).max() < 1e-6


def test_beyond_the_picture_its_border_is_repeated() -> None:
    images = noise(2, 1, (4, 2))
    region = plan_crops([[{"x": 0, "y": 0, "width": 4, "height": 2}]], (4, 2), CropOptions(aspect="1:1")).items[0]
    crop = cut(images, region)
    assert crop.shape == (4, 4, 3)
    assert torch.equal(crop, images[0][[0, 0, 1, 1]])


def test_the_mask_is_where_the_box_is() -> None:
    options = CropOptions(padding=10, resize="longer side", size=80)
    region = plan_crops([[BOX]], (100, 60), options).items[0]
    rows, columns = torch.nonzero(cut_mask(region, (100, 60)), as_tuple=True)
    assert region.size == (80, 60)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 59, 20, 39)


@pytest.mark.parametrize(
    "options",
    [
        *({"aspect": "wide"}, {"aspect": "0:1"}, {"aspect": "4:0"}, {"resize": "both"}, {"padding": -1}),
        *({"multiple_of": 0}, {"unit": "miles"}, {"unit": []}, {"method": "best"}, {"padding": float("nan")}),
    ],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        CropOptions(**options)


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [(30, 20), (5, 4), (12, 9)])
def test_resampling_is_pillows_to_a_level_of_8_bits(method: str, size: tuple[int, int]) -> None:
    levels = np.random.default_rng(3).integers(90, 166, (9, 12, 3), dtype=np.uint8)
    ours = resample(torch.from_numpy(levels).float() / 255, size, method)
    theirs = np.asarray(Image.fromarray(levels).resize(size, FILTERS[method]), dtype=np.float32)
    assert ours.shape == (size[1], size[0], 3) and ours.dtype == torch.float32
    assert np.abs(ours.numpy() * 255 - theirs).max() < 1.1  # Pillow rounds after each of two passes


def test_resampling_keeps_more_than_8_bits() -> None:
    image = torch.full((8, 8, 1), float(Fraction(1, 3)))
    assert torch.allclose(resample(image, (5, 5), "lanczos"), image[:5, :5], atol=1e-6)


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(InputError, match="lanczos"):
        resample(torch.zeros(2, 2, 3), (4, 4), "magic")

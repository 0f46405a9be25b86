from __future__ import annotations

from typing import Any

import pytest
import torch
from box_strategies import CROP_OPTIONS, batches, noise
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.crops import CropOptions, Regions, cut, cut_mask, plan_crops
from iaa_runtime.boxes.paste import paste_crops
from iaa_runtime.errors import Cancelled, InputError
from iaa_runtime.images.resample import FILTERS, resample
from iaa_runtime.images.strips import STRIP_PIXELS

SIZE = (40, 30)
BOX = {"x": 10, "y": 8, "width": 16, "height": 12}
EDGE = {"x": 0, "y": 0, "width": 16, "height": 12}


def planned(*boxes: dict[str, Any], **options: Any) -> tuple[torch.Tensor, Regions, list[torch.Tensor]]:
    """One noisy image, its regions and its crops."""
    images = noise(4, 1, SIZE)
    regions = plan_crops([list(boxes)], SIZE, CropOptions(**options))
    return images, regions, [cut(images, region) for region in regions.items]


@given(batches(), CROP_OPTIONS, st.integers(0, 40), st.booleans(), st.sampled_from([1, 3, 4]))
def test_untouched_crops_restore_the_image_bit_for_bit(
    batch: tuple[tuple[int, int], Any], options: CropOptions, feather: int, masked: bool, channels: int
) -> None:
    size, boxes = batch
    images = noise(5, len(boxes), size, channels)
    regions = plan_crops(boxes, size, options)
    crops = [cut(images, region) for region in regions.items]
    masks = [cut_mask(region, size) for region in regions.items] if masked else None
    assert torch.equal(paste_crops(images, crops, regions, feather=feather, masks=masks), images)


@given(batches(), CROP_OPTIONS, st.integers(0, 40))
def test_nothing_changes_outside_the_regions(
    batch: tuple[tuple[int, int], Any], options: CropOptions, feather: int
) -> None:
    size, boxes = batch
    images = noise(6, len(boxes), size)
    regions = plan_crops(boxes, size, options)
    before = images.clone()
    pasted = paste_crops(images, [1 - cut(images, region) for region in regions.items], regions, feather=feather)
    assert torch.equal(images, before)
    inside = torch.zeros(images.shape[:3], dtype=torch.bool)
    for region in regions.items:
        left, top, right, bottom = (max(edge, 0) for edge in region.rectangle)
        inside[region.image, top:bottom, left:right] = True
    assert torch.equal(pasted[~inside], images[~inside])


@given(batches(whole=True))
def test_changed_crops_of_their_own_size_arrive_bit_for_bit(batch: tuple[tuple[int, int], Any]) -> None:
    size, boxes = batch
    images = noise(7, len(boxes), size)
    regions = plan_crops([found[:1] for found in boxes], size, CropOptions(padding=2))
    crops = [noise(8 + number, 1, region.size)[0] for number, region in enumerate(regions.items)]
    pasted = paste_crops(images, crops, regions)
    for crop, region in zip(crops, regions.items, strict=True):
        assert torch.equal(cut(pasted, region), crop)


@pytest.mark.parametrize("method", FILTERS)
def test_a_retouched_corner_changes_that_corner_only(method: str) -> None:
    images, regions, crops = planned(BOX, resize="longer side", size=64, method=method)
    crops[0][:8, :8] = 1
    changed = (paste_crops(images, crops, regions) != images).any(dim=-1)[0]
    rows, columns = torch.nonzero(changed, as_tuple=True)
    reach = 4  # 8 pixels at 4 times the size are 2; the filters look at most so far around
    assert len(rows) >= 4
    assert rows.min() == BOX["y"] and rows.max() < BOX["y"] + 2 + reach
    assert columns.min() == BOX["x"] and columns.max() < BOX["x"] + 2 + reach


def test_a_change_of_one_channel_counts() -> None:
    images, regions, crops = planned(BOX)
    crops[0][2, 3, 1] += 0.25
    pasted = paste_crops(images, crops, regions)
    assert torch.equal(cut(pasted, regions.items[0]), crops[0])


def test_a_replaced_crop_shows_nothing_of_the_old_image() -> None:
    images, regions, _ = planned(BOX, resize="longer side", size=8)
    pasted = paste_crops(images, [torch.full((6, 8, 3), 0.25)], regions)
    assert torch.allclose(pasted[0, 8:20, 10:26], torch.tensor(0.25), atol=1e-6)


def test_crops_may_come_back_larger() -> None:
    images, regions, crops = planned(BOX)
    pasted = paste_crops(images, [resample(crops[0], (64, 48), "nearest")], regions)
    assert torch.allclose(pasted, images, atol=0.6) and not torch.equal(pasted, images)
    pasted = paste_crops(images, [torch.zeros(48, 64, 3)], regions)
    assert pasted[0, 8:20, 10:26].max() == 0


def test_feathering_rises_from_the_sides() -> None:
    images = torch.zeros(1, 30, 40, 3)
    regions = plan_crops([[BOX]], SIZE, CropOptions())
    pasted = paste_crops(images, [torch.ones(12, 16, 3)], regions, feather=4)[0, ..., 0]
    assert torch.allclose(pasted[14, 10:16], torch.tensor([0.125, 0.375, 0.625, 0.875, 1, 1]))
    assert torch.allclose(pasted[8:14, 18], torch.tensor([0.125, 0.375, 0.625, 0.875, 1, 1]))
    assert torch.equal(pasted, pasted.flip(0).roll(-2, 0)) and torch.equal(pasted, pasted.flip(1).roll(-4, 1))


def test_no_feather_at_the_border_of_the_image() -> None:
    images = torch.zeros(1, 30, 40, 3)
    pasted = paste_crops(images, [torch.ones(12, 16, 3)], plan_crops([[EDGE]], SIZE, CropOptions()), feather=4)
    assert pasted[0, :8, :12].min() == 1
    assert pasted[0, 0, 15, 0] == 0.125 and pasted[0, 11, 0, 0] == 0.125


def test_masks_say_where_to_paste() -> None:
    images, regions, crops = planned(BOX)
    mask = torch.zeros(12, 16)
    mask[:6] = 1
    mask[6] = 0.5
    pasted = paste_crops(images, [torch.zeros_like(crops[0])], regions, masks=[mask])
    assert pasted[0, 8:14, 10:26].max() == 0
    assert torch.allclose(pasted[0, 14, 10:26], images[0, 14, 10:26] / 2)
    assert torch.equal(pasted[0, 15:], images[0, 15:])
    larger = paste_crops(images, [torch.zeros_like(crops[0])], regions, masks=[torch.ones(3, 4)])
    assert larger[0, 8:20, 10:26].max() == 0


@pytest.mark.parametrize("aspect", ["as the box", "9:16"])
@pytest.mark.parametrize("resize", ["off", "longer side"])
def test_a_mask_as_large_as_the_picture_is_one_of_the_picture(resize: str, aspect: str) -> None:
    """As IAA Ground and SAM give them. It was squeezed into each crop, and pasted a small part of it, off its place."""
    images, regions, crops = planned(BOX, padding=3, resize=resize, size=64, aspect=aspect)
    mask = torch.zeros(SIZE[1], SIZE[0])
    mask[8:20, 10:26] = 1
    pasted = paste_crops(images, [1 - crop for crop in crops], regions, masks=[mask])
    changed = (pasted != images).any(dim=-1)[0]
    assert not changed[mask == 0].any() and changed[mask == 1].float().mean() > 0.9
    if resize == "off":
        assert torch.equal(pasted[0, 8:20, 10:26], 1 - images[0, 8:20, 10:26])


@pytest.mark.parametrize("whose", ["handed out", "cut", "came back"])
def test_a_mask_as_large_as_its_crop_is_one_of_the_crop(whose: str) -> None:
    """Even if the picture is of that size, too."""
    images = noise(12, 1, SIZE)
    options = CropOptions(aspect="4:3", resize="longer side", size=40) if whose == "handed out" else CropOptions()
    box = {"x": 0, "y": 0, "width": 40, "height": 30} if whose == "cut" else {**BOX, "height": 12}
    regions = plan_crops([[box]], SIZE, options)
    crop = torch.zeros(*(SIZE[::-1] if whose != "cut" else (60, 80)), 3)
    mask = torch.zeros(SIZE[1], SIZE[0])
    mask[:15] = 1
    changed = (paste_crops(images, [crop], regions, masks=[mask]) != images).any(dim=-1)[0]
    left, top, right, bottom = regions.items[0].rectangle
    middle = (top + bottom) // 2
    assert changed[top : middle - 2, left:right].all() and not changed[middle + 3 :].any()


def test_later_crops_are_on_top_and_untouched_ones_below() -> None:
    near = {**BOX, "x": 14}
    images, regions, crops = planned(BOX, near)
    white, black = torch.ones_like(crops[0]), torch.zeros_like(crops[1])
    assert paste_crops(images, [white, black], regions)[0, 10, 16].max() == 0
    assert paste_crops(images, [white, crops[1]], regions)[0, 10, 16].min() == 1


def test_crops_paste_into_other_images() -> None:
    _, regions, crops = planned(BOX)
    assert torch.equal(cut(paste_crops(torch.zeros(1, 30, 40, 3), crops, regions), regions.items[0]), crops[0])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_grey_crop_is_grey_in_a_picture_with_colours(channels: int) -> None:
    images = torch.zeros(1, 8, 8, channels)
    regions = plan_crops([[{"x": 2, "y": 2, "width": 4, "height": 4}]], (8, 8), CropOptions())
    pasted = paste_crops(images, [torch.full((4, 4, 1), 0.5)], regions)
    assert (pasted[0, 2:6, 2:6, : min(3, channels)] == 0.5).all()
    assert pasted.sum() == 16 * 0.5 * min(3, channels), "alpha stays, and all around"


def test_channels_may_differ() -> None:
    images = noise(9, 1, SIZE, 4)
    regions = plan_crops([[BOX]], SIZE, CropOptions())
    pasted = paste_crops(images, [torch.zeros(12, 16, 3)], regions)
    assert torch.equal(pasted[..., 3], images[..., 3]) and pasted[0, 8:20, 10:26, :3].max() == 0
    pasted = paste_crops(images, [torch.zeros(12, 16, 4)], regions)
    assert pasted[0, 8:20, 10:26].max() == 0, "transparent, in images that can be"


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("method", ["lanczos", "nearest"])
def test_a_transparent_crop_covers_as_much_as_it_is_opaque(scale: int, method: str) -> None:
    """Left half transparent, with whatever colour an editor left there; the right one half opaque."""
    images, regions, _ = planned(BOX, method=method)
    crop = torch.ones(12 * scale, 16 * scale, 4)
    crop[:, : 8 * scale, 3], crop[:, 8 * scale :, 3] = 0, 0.5
    crop[:, 8 * scale :, 0] = 0.25
    pasted = paste_crops(images, [crop], regions)
    assert pasted.shape == images.shape
    reach = 0 if scale == 1 or method == "nearest" else 3
    assert torch.equal(pasted[0, 8:20, 10 : 18 - reach], images[0, 8:20, 10 : 18 - reach])
    right = images[0, 8:20, 18 + reach : 26] / 2 + torch.tensor([0.125, 0.5, 0.5])
    assert torch.allclose(pasted[0, 8:20, 18 + reach : 26], right, atol=1e-6)
    between = pasted[0, 8:20, 18 - reach : 18 + reach]
    assert (between[..., 0] <= images[0, 8:20, 18 - reach : 18 + reach, 0].clamp(min=0.25) + 1e-6).all(), "no white"


def test_a_hard_edge_of_transparency_makes_nothing_brighter_than_white() -> None:
    """Lanczos overshoots: bright pixels came out above 1, which core's nodes wrap round to black."""
    images = noise(13, 1, SIZE) / 2 + 0.5
    regions = plan_crops([[BOX]], SIZE, CropOptions(method="lanczos", resize="longer side", size=40))
    crop = torch.cat([noise(14, 1, (40, 30))[0] / 2 + 0.5, torch.zeros(30, 40, 1)], dim=-1)
    crop[5:25, 5:35, 3] = 1
    pasted = paste_crops(images, [crop], regions)
    assert pasted.max() <= 1 and pasted.min() >= 0


def test_an_opaque_crop_with_an_alpha_channel_is_pasted_as_one_without() -> None:
    images, regions, crops = planned(BOX, resize="longer side", size=64)
    opaque = torch.cat([crops[0], torch.ones_like(crops[0][..., :1])], dim=-1)
    assert torch.equal(paste_crops(images, [opaque], regions), images), "nobody changed it"
    half = torch.cat([1 - crops[0], torch.full_like(crops[0][..., :1], 0.5)], dim=-1)
    mask = torch.zeros(12, 16)
    assert torch.equal(paste_crops(images, [half], regions, masks=[mask]), images)


def test_half_precision_restores_too() -> None:
    images = noise(10, 1, SIZE).half()
    regions = plan_crops([[BOX]], SIZE, CropOptions(resize="longer side", size=100))
    crops = [cut(images, region) for region in regions.items]
    assert crops[0].dtype == torch.float16
    assert torch.equal(paste_crops(images, crops, regions, feather=3), images)


def test_what_does_not_fit_is_refused() -> None:
    images, regions, crops = planned(BOX, EDGE)
    with pytest.raises(InputError, match="1 crops came for 2 regions"):
        paste_crops(images, crops[:1], regions)
    with pytest.raises(InputError, match="3 masks came for 2 regions"):
        paste_crops(images, crops, regions, masks=[torch.ones(2, 2)] * 3)
    with pytest.raises(InputError, match="images are 20 x 15, but the crops were cut from images of 40 x 30"):
        paste_crops(images[:, ::2, ::2], crops, regions)
    second = plan_crops([[], [BOX]], SIZE, CropOptions())
    with pytest.raises(InputError, match="crops of image 2, but only 1 images"):
        paste_crops(images, crops[:1], second)


def test_no_crops_leave_the_images_alone() -> None:
    images = noise(11, 2, SIZE)
    assert torch.equal(paste_crops(images, [], plan_crops([[], []], SIZE, CropOptions())), images)


def test_cancel_is_asked_while_pixels_are_copied_and_blended() -> None:
    """In one go, the blending of 8000 x 8000 pixels took four deaf seconds, and copying it two more."""
    side = 2048
    images, regions, crops = torch.zeros(1, side, side, 3), *planned_whole(side)
    asked = []
    paste_crops(images, crops, regions, cancelled=lambda: bool(asked.append(True)))
    assert len(asked) >= 2 * side * side / STRIP_PIXELS
    left = iter([False, False])
    with pytest.raises(Cancelled):
        paste_crops(images, crops, regions, cancelled=lambda: next(left, True))


def planned_whole(side: int) -> tuple[Regions, list[torch.Tensor]]:
    """All of a black image, and a white crop for it."""
    box = {"x": 0, "y": 0, "width": side, "height": side}
    return plan_crops([[box]], (side, side), CropOptions()), [torch.ones(side, side, 3)]

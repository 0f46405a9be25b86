"""Pastes crops back into their images: pixels that nobody changed stay as they are, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import Cancel, InputError, check_cancelled
from ..images.resample import resample
from ..images.strips import copied, strips
from .crops import Region, Regions, view
from .geometry import intersection


def paste_crops(
    images: Tensor,
    crops: Sequence[Tensor],
    regions: Regions,
    *,
    feather: int = 0,
    masks: Sequence[Tensor] | None = None,
    cancelled: Cancel = None,
) -> Tensor:
    """Puts crops back where they came from.

    Each crop is cut once more from ``images``. Where it shows the same pixels as the one that comes back, after both
    are resized to their region, the image is left alone. So a crop that nobody touched restores the image exactly,
    however the filter would blur it, and one that was retouched in a corner changes that corner only.

    Args:
        images: (B, H, W, C) in 0..1: usually the images that the crops were cut from. They are left as they are.
        crops: One (h, w, c) per region, in 0..1 and of any size; it is resized to its region with the region's
            filter. An alpha channel that the images do not have says how much of the crop covers the image; one
            that they have is pasted like the colours. A crop without it leaves that of the images alone. One channel is
            grey: of every colour as much.
        regions: Where the crops came from.
        feather: Over how many pixels a crop fades in from its sides; not from sides on the image's border.
        masks: One (h, w) per region in 0..1, of any size: where to paste, and how strongly. None: everywhere. One as
            large as the images is a mask of its image, of which the region counts, unless its crop is as large too.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every few million pixels.

    Returns:
        (B, H, W, C). Where crops overlap, later ones are on top.

    Raises:
        InputError: If the numbers of crops, masks and regions differ, or the images are not of the regions' size.
    """
    _check(images, crops, regions, masks)
    pasted = copied(images, cancelled)
    for number, (crop, region) in enumerate(zip(crops, regions.items, strict=True)):
        check_cancelled(cancelled)
        if intersection(region.rectangle, (0, 0, *regions.image_size)) is not None:
            mask = None if masks is None else masks[number]
            _paste(pasted, images, crop.to(images), mask, region, feather, cancelled)
    return pasted


def _paste(
    pasted: Tensor,
    images: Tensor,
    crop: Tensor,
    mask: Tensor | None,
    region: Region,
    feather: int,
    cancelled: Cancel,
) -> None:
    """Puts one crop into the images that are to come out, some rows at a time."""
    height, width = images.shape[1:3]
    if crop.shape[-1] == 1 < images.shape[-1]:
        crop = crop.expand(-1, -1, min(3, images.shape[-1]))
    channels = min(crop.shape[-1], images.shape[-1])
    new = resample(crop[..., :channels], region.extent, region.method, cancelled)
    # Compared after resizing: any pixel of the crop that bears on a pixel of the image counts.
    given = view(images[..., :channels], region, cancelled)
    same_size = given.shape == crop[..., :channels].shape
    old = resample(given, region.extent, region.method, cancelled) if same_size else None
    cover: Tensor | None = None
    colors = new
    if crop.shape[-1] == 4 > images.shape[-1] and crop[..., 3].min() < 1:
        # Colours by their opacity before resizing: those of transparent pixels, which are anything, must not bleed.
        colors = resample(crop[..., :channels] * crop[..., 3:], region.extent, region.method, cancelled)
        cover = resample(crop[..., 3:], region.extent, region.method, cancelled)
        colors = torch.minimum(colors, cover)  # the filters overshoot, each by its own: nothing is brighter than white
    if mask is not None:
        mask = _mask_of(region, mask.to(images), crop, (width, height), cancelled)
    across, down = (ramp.to(images) for ramp in _ramps(region, (width, height), feather))

    x, y = region.rectangle[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(region.rectangle[2], width), min(region.rectangle[3], height)
    for _, first, _, last in strips((right - left, bottom - top), cancelled):
        rows, columns = slice(top + first - y, top + last - y), slice(left - x, right - x)
        share = torch.minimum(across[columns], down[rows, None])[..., None]
        if mask is not None:
            share = share * mask[rows, columns]
        if old is not None:
            changed = (new[rows, columns] != old[rows, columns]).any(dim=-1, keepdim=True)
            share = torch.where(changed, share, torch.zeros_like(share))
        kept = 1 - share * (1.0 if cover is None else cover[rows, columns])
        place = pasted[region.image, top + first : top + last, left:right, :channels]
        place.copy_(torch.where(share > 0, place * kept + colors[rows, columns] * share, place))


def _mask_of(region: Region, mask: Tensor, crop: Tensor, image_size: tuple[int, int], cancelled: Cancel) -> Tensor:
    """The mask of a crop, or what its region shows of a mask of the image: (h, w, 1) of the region's extent."""
    size = (mask.shape[1], mask.shape[0])
    if size == image_size and size not in (region.size, region.extent, (crop.shape[1], crop.shape[0])):
        return view(mask[None, ..., None], replace(region, image=0, size=region.extent), cancelled)
    return resample(mask[..., None], region.extent, region.method, cancelled)


def _ramps(region: Region, image_size: tuple[int, int], feather: int) -> tuple[Tensor, Tensor]:
    """Weights across (w,) and down (h,), float32, that rise from the sides of a region to 1 over ``feather`` pixels."""
    width, height = region.extent
    across, down = torch.ones(width), torch.ones(height)
    if feather > 0:
        left, top, right, bottom = region.rectangle
        for weights, near, far, limit in ((across, left, right, image_size[0]), (down, top, bottom, image_size[1])):
            rise = ((torch.arange(len(weights)) + 0.5) / feather).clamp(max=1)
            if near > 0:
                torch.minimum(weights, rise, out=weights)
            if far < limit:
                torch.minimum(weights, rise.flip(0), out=weights)
    return across, down


def _check(images: Tensor, crops: Sequence[Tensor], regions: Regions, masks: Sequence[Tensor] | None) -> None:
    for name, given in (("crops", crops), ("masks", masks)):
        if given is not None and len(given) != len(regions.items):
            raise InputError(
                f"{len(given)} {name} came for {len(regions.items)} regions. Each crop of IAA Crop Boxes must come "
                "back, in the same order: none left out, none doubled."
            )
    size = (images.shape[2], images.shape[1])
    if size != regions.image_size:
        raise InputError(
            f"The images are {size[0]} x {size[1]}, but the crops were cut from images of {regions.image_size[0]} x "
            f"{regions.image_size[1]}. Paste into images of that size, and resize afterwards."
        )
    last = max((region.image for region in regions.items), default=0)
    if last >= images.shape[0]:
        raise InputError(
            f"There are crops of image {last + 1}, but only {images.shape[0]} images to paste into. Connect the images "
            "that the crops were cut from."
        )

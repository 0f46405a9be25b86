"""Pastes crops back into their images: pixels that nobody changed stay as they are, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import Cancel, InputError, check_cancelled
from ..images.resample import resample
from .crops import Region, Regions, cut
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
            that they have is pasted like the colours. A crop with fewer channels leaves the others alone.
        regions: Where the crops came from.
        feather: Over how many pixels a crop fades in from its sides; not from sides on the image's border.
        masks: One (h, w) per region in 0..1, of any size: where to paste, and how strongly. None: everywhere.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every few million pixels.

    Returns:
        (B, H, W, C). Where crops overlap, later ones are on top.

    Raises:
        InputError: If the numbers of crops, masks and regions differ, or the images are not of the regions' size.
    """
    _check(images, crops, regions, masks)
    pasted = images.clone()
    for number, (crop, region) in enumerate(zip(crops, regions.items, strict=True)):
        check_cancelled(cancelled)
        inside = intersection(region.rectangle, (0, 0, *regions.image_size))
        if inside is None:
            continue
        channels = min(crop.shape[-1], images.shape[-1])
        crop = crop.to(images)
        new, changed = _compare(images[..., :channels], crop[..., :channels], region, cancelled)
        cover: Tensor | float = 1.0
        if crop.shape[-1] == 4 > images.shape[-1] and crop[..., 3].min() < 1:
            # Colours by their opacity before resizing: those of transparent pixels, which are anything, must not bleed.
            new = resample(crop[..., :channels] * crop[..., 3:], region.extent, region.method, cancelled)
            cover = resample(crop[..., 3:], region.extent, region.method, cancelled)
        weight = _ramp(region, regions.image_size, feather).to(images)
        if masks is not None:
            mask = masks[number][..., None].to(images)
            weight = weight * resample(mask, region.extent, region.method, cancelled)[..., 0]
        weight = torch.where(changed, weight, torch.zeros_like(weight))
        left, top, right, bottom = inside
        x, y = region.rectangle[:2]
        shown = slice(top - y, bottom - y), slice(left - x, right - x)
        place = pasted[region.image, top:bottom, left:right, :channels]
        share = weight[shown][..., None]
        kept = 1 - share * (cover if isinstance(cover, float) else cover[shown])
        place.copy_(torch.where(share > 0, place * kept + new[shown] * share, place))
    return pasted


def _compare(images: Tensor, crop: Tensor, region: Region, cancelled: Cancel) -> tuple[Tensor, Tensor]:
    """The crop resized to its region (h, w, c), and where (h, w) it differs from the pixels that were cut there."""
    new = resample(crop, region.extent, region.method, cancelled)
    given = cut(images, region, cancelled)
    if given.shape != crop.shape:
        return new, torch.ones(new.shape[:2], dtype=torch.bool, device=new.device)
    # Compared after resizing: any pixel of the crop that bears on a pixel of the image counts.
    return new, (new != resample(given, region.extent, region.method, cancelled)).any(dim=-1)


def _ramp(region: Region, image_size: tuple[int, int], feather: int) -> Tensor:
    """Weights (h, w), float32, that rise from the sides of a region to 1 over ``feather`` pixels."""
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
    return torch.minimum(across[None], down[:, None])


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

"""Crops back into their images: what was changed is pasted, what was not stays as it is, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..images.resample import resample
from .crops import Region, Regions, cut


def paste_crops(
    images: Tensor,
    crops: Sequence[Tensor],
    regions: Regions,
    *,
    feather: int = 0,
    masks: Sequence[Tensor] | None = None,
) -> Tensor:
    """Puts crops back where they came from.

    Each crop is cut once more from ``images``; where the one that comes back shows the same pixels after both are
    brought to the size of their place, the image is left alone. So a crop that nobody touched restores the image
    exactly, whatever it was resized to and however often the filter would blur it, and one that was retouched in a
    corner changes that corner only.

    Args:
        images: (B, H, W, C) in 0..1: usually the images that the crops were cut from. They are left as they are.
        crops: One (h, w, c) per region, in 0..1 and of any size; it is brought to the size of its place with the
            region's filter. Channels beyond C are dropped; a crop with fewer leaves the others alone.
        regions: Where the crops came from.
        feather: Over how many pixels a crop fades in from its sides; not from sides on the image's border.
        masks: One (h, w) per region in 0..1, of any size: where to paste, and how strongly. None: everywhere.

    Returns:
        (B, H, W, C). Where crops overlap, later ones are on top.

    Raises:
        InputError: If the numbers of crops, masks and regions differ, or the images are not of the regions' size.
    """
    _check(images, crops, regions, masks)
    pasted = images.clone()
    for number, (crop, region) in enumerate(zip(crops, regions.items, strict=True)):
        window = _inside(region, regions.image_size)
        if window is None:
            continue
        rows, columns = window
        channels = min(crop.shape[-1], images.shape[-1])
        new, changed = _compare(images[..., :channels], crop[..., :channels].to(images), region)
        weight = _ramp(region, regions.image_size, feather).to(images)
        if masks is not None:
            weight = weight * resample(masks[number][..., None].to(images), region.extent, region.method)[..., 0]
        weight = torch.where(changed, weight, torch.zeros_like(weight))
        # The part of the region that lies in the image.
        shown = (
            slice(rows.start - region.rectangle[1], rows.stop - region.rectangle[1]),
            slice(columns.start - region.rectangle[0], columns.stop - region.rectangle[0]),
        )
        place = pasted[region.image, rows, columns, :channels]
        share = weight[shown][..., None]
        place.copy_(torch.where(share > 0, place * (1 - share) + new[shown] * share, place))
    return pasted


def _compare(images: Tensor, crop: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """A crop at the size of its place (h, w, c), and where (h, w) it shows other pixels than were handed out."""
    new = resample(crop, region.extent, region.method)
    given = cut(images, region)
    if given.shape != crop.shape:
        return new, torch.ones(new.shape[:2], dtype=torch.bool, device=new.device)
    # Compared at the size of the place: any pixel of the crop that bears on a pixel there counts.
    return new, (new != resample(given, region.extent, region.method)).any(dim=-1)


def _ramp(region: Region, image_size: tuple[int, int], feather: int) -> Tensor:
    """(h, w) float32 that rises from the sides of a region to 1 over ``feather`` pixels."""
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


def _inside(region: Region, image_size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the image that a region covers, or None for none."""
    left, top, right, bottom = region.rectangle
    columns, rows = slice(max(left, 0), min(right, image_size[0])), slice(max(top, 0), min(bottom, image_size[1]))
    return (rows, columns) if columns.start < columns.stop and rows.start < rows.stop else None


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

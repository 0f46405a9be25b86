"""Cuts one crop per box out of a batch of images, and records where each came from."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError
from ..images.resample import resample
from .bounding_box import BoxDict, Boxes, corners, from_corners
from .geometry import Rectangle, Unit, grown, pixel_rectangle, place_span
from .masks import box_in, box_masks

AS_BOX, AS_IMAGE = "as the box", "as the image"
ASPECTS = (AS_BOX, "1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", AS_IMAGE)
KEEP, LONGER, SHORTER = "off", "longer side", "shorter side"
RESIZES = (KEEP, LONGER, SHORTER)

_RATIO = re.compile(r"([0-9]{1,5})\s*:\s*([0-9]{1,5})")


@dataclass(frozen=True)
class CropOptions:
    """How boxes become crops.

    Attributes:
        padding: How much of the surroundings to take in on each side.
        unit: ``padding`` in pixels, or in hundredths of the box's own width and height.
        aspect: Width to height of the crop, such as ``"4:3"``, or ``AS_BOX`` or ``AS_IMAGE``. Crops are widened to it,
            never narrowed.
        multiple_of: Width and height of the crop are multiples of this many pixels; may bend the aspect a little.
        resize: Which side becomes ``size``, or ``KEEP`` for none.
        size: Pixels of that side, rounded to ``multiple_of``.
        method: The filter to resize with, a name of :data:`iaa_runtime.images.resample.FILTERS`.
    """

    padding: float = 0.0
    unit: Unit = "pixels"
    aspect: str = AS_BOX
    multiple_of: int = 1
    resize: str = KEEP
    size: int = 1024
    method: str = "lanczos"

    def __post_init__(self) -> None:
        ratio = _RATIO.fullmatch(self.aspect)
        if self.aspect not in (AS_BOX, AS_IMAGE) and (ratio is None or not int(ratio[1]) or not int(ratio[2])):
            raise InputError(f"{self.aspect!r} is no aspect. Write it as 4:3, or one of: {', '.join(ASPECTS)}.")
        if self.resize not in RESIZES:
            raise InputError(f"There is no resize {self.resize!r}. Choose one of: {', '.join(RESIZES)}.")
        if self.padding < 0 or self.multiple_of < 1 or self.size < 1:
            raise InputError("Padding must be 0 or more; multiple_of and size must be 1 or more.")

    def ratio(self, image: tuple[int, int]) -> float | None:
        """Width over height of the crops of an image of that size; None leaves each as its box is."""
        if self.aspect == AS_BOX:
            return None
        if self.aspect == AS_IMAGE:
            return image[0] / image[1]
        width, height = self.aspect.split(":")
        return int(width) / int(height)


@dataclass(frozen=True)
class Region:
    """Where a crop came from.

    Attributes:
        image: Which image of the batch, from 0.
        rectangle: The pixels that the crop shows. It lies in the image unless it is larger than the image; what is
            beyond is then filled with the nearest pixels of the border.
        size: (width, height) of the crop as it was handed out.
        method: The filter that it was resized with.
        box: The box that the crop is of.
    """

    image: int
    rectangle: Rectangle
    size: tuple[int, int]
    method: str
    box: BoxDict = field(default_factory=dict)

    @property
    def extent(self) -> tuple[int, int]:
        """(width, height) of the rectangle."""
        return self.rectangle[2] - self.rectangle[0], self.rectangle[3] - self.rectangle[1]


@dataclass(frozen=True)
class Regions:
    """Where all crops of a batch came from, in the order of the crops.

    Attributes:
        image_size: (width, height) of the images.
        items: One per crop.
    """

    image_size: tuple[int, int]
    items: tuple[Region, ...]


def plan_crops(boxes: Boxes, size: tuple[int, int], options: CropOptions) -> Regions:
    """Decides where to crop, image by image, in the order of the boxes.

    Args:
        boxes: One list per image.
        size: (width, height) of every image.
        options: How boxes become crops.

    Returns:
        One region per box.
    """
    items = []
    for image, found in enumerate(boxes):
        for box in found:
            rectangle = crop_rectangle(box, size, options)
            out = _output_size((rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]), size, options)
            items.append(Region(image, rectangle, out, options.method, dict(box)))
    return Regions(size, tuple(items))


def crop_rectangle(box: BoxDict, size: tuple[int, int], options: CropOptions) -> Rectangle:
    """The pixels to crop: the box padded, cut at the image's border, widened to the aspect, moved to stay inside."""
    x1, y1, x2, y2 = grown(pixel_rectangle(corners(box), size), options.padding, options.unit)
    left, right = max(math.floor(x1), 0), min(math.ceil(x2), size[0])
    top, bottom = max(math.floor(y1), 0), min(math.ceil(y2), size[1])
    width, height = right - left, bottom - top
    ratio = options.ratio(size)
    if ratio is not None:
        width, height = max(width, round(height * ratio)), max(height, round(width / ratio))
    if options.resize == KEEP:
        width, height = (math.ceil(side / options.multiple_of) * options.multiple_of for side in (width, height))
    x = place_span((left + right) / 2, width, size[0])
    y = place_span((top + bottom) / 2, height, size[1])
    return x[0], y[0], x[1], y[1]


def cut(images: Tensor, region: Region) -> Tensor:
    """The crop of a region.

    Args:
        images: (B, H, W, C) in 0..1.
        region: Which pixels, at which size.

    Returns:
        (height, width, C), a new tensor: the pixels themselves where the size is that of the rectangle.
    """
    left, top, right, bottom = region.rectangle
    rows = torch.arange(top, bottom, device=images.device).clamp(0, images.shape[1] - 1)
    columns = torch.arange(left, right, device=images.device).clamp(0, images.shape[2] - 1)
    return resample(images[region.image][rows[:, None], columns], region.size, region.method)


def cut_mask(region: Region, image_size: tuple[int, int]) -> Tensor:
    """The box of a region as a mask of its crop: (height, width) float32, 1 in the box, 0 around it."""
    box = from_corners(pixel_rectangle(corners(region.box), image_size))
    return box_masks([box_in(box, region.rectangle, region.size)], region.size)[0]


def _output_size(extent: tuple[int, int], image: tuple[int, int], options: CropOptions) -> tuple[int, int]:
    if options.resize == KEEP:
        return extent
    ratio = options.ratio(image)
    # By the aspect itself and not by the rectangle's rounded sides, so that all crops come out at one size.
    shape = extent if ratio is None else (ratio, 1.0)
    scale = options.size / (max(shape) if options.resize == LONGER else min(shape))
    width, height = (
        max(1, math.floor(side * scale / options.multiple_of + 0.5)) * options.multiple_of for side in shape
    )
    return width, height

"""Cuts one crop per box out of a batch of images, and records where each came from."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import Cancel, InputError, spelled
from ..images.limits import MAX_PIXELS
from ..images.resample import FILTERS, resample
from ..images.strips import copied
from .bounding_box import BoxDict, Boxes, corners, from_corners, shown
from .geometry import Rectangle, Unit, check_pixels, check_unit, grown, pixel_rectangle, place_span
from .masks import box_in, box_masks

AS_BOX, AS_IMAGE = "as the box", "as the image"
ASPECTS = (AS_BOX, "1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", AS_IMAGE)
KEEP, LONGER, SHORTER = "off", "longer side", "shorter side"
RESIZES = (KEEP, LONGER, SHORTER)
LONGEST = 8192
"""Pixels that no side exceeds when the shorter one is given its size: a box of 1 x 1000 would fill 12 gigabytes."""

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
        resize: Which side becomes ``size``, or ``KEEP`` for none. Of a long thin crop the shorter side becomes less,
            so that the longer one stays within ``LONGEST`` (or ``size``, if that is more).
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
        if self.method not in tuple(FILTERS):
            raise InputError(f"There is no method {spelled(self.method)}. Choose one of: {', '.join(FILTERS)}.")
        check_unit(self.unit)
        if not 0 <= self.padding < math.inf or self.multiple_of < 1 or self.size < 1:
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
        One region per box of which an image shows anything (:func:`.bounding_box.shown`).

    Raises:
        InputError: If the aspect would widen a crop to more than ``MAX_PIXELS``: in an image that is long and thin; or
            if all crops would have more than ``MOST_PIXELS`` together.
    """
    items = []
    for image, found in enumerate(boxes):
        for box in shown(found, size):
            rectangle = crop_rectangle(box, size, options)
            _check_extent((rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]), size, options)
            out = _output_size((rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]), size, options)
            items.append(Region(image, rectangle, out, options.method, dict(box)))
    check_pixels(sum(item.size[0] * item.size[1] for item in items), f"{len(items)} crops")
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


def cut(images: Tensor, region: Region, cancelled: Cancel = None) -> Tensor:
    """The crop of a region.

    Args:
        images: (B, H, W, C) in 0..1.
        region: Which pixels, at which size.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every few million pixels.

    Returns:
        (height, width, C), a new tensor: the pixels themselves where the size is that of the rectangle.
    """
    crop = view(images, region, cancelled)
    return copied(crop[None], cancelled)[0] if region.size == region.extent else crop


def view(images: Tensor, region: Region, cancelled: Cancel = None) -> Tensor:
    """The crop of a region to read and not to write: as :func:`cut`, but pixels that keep their size are not copied.

    Returns:
        (height, width, C), maybe a view of ``images``.
    """
    left, top, right, bottom = region.rectangle
    height, width = images.shape[1:3]
    pixels = images[region.image, max(top, 0) : bottom, max(left, 0) : right]
    if left < 0 or top < 0 or right > width or bottom > height:
        for axis, first, last, limit in ((0, top, bottom, height), (1, left, right, width)):
            nearest = torch.arange(first, last, device=images.device).clamp(0, limit - 1) - max(first, 0)
            pixels = pixels.index_select(axis, nearest)
    return resample(pixels, region.size, region.method, cancelled)


def cut_mask(region: Region, image_size: tuple[int, int]) -> Tensor:
    """The box of a region as a mask of its crop: (height, width) float32, 1 in the box, 0 around it."""
    box = from_corners(pixel_rectangle(corners(region.box), image_size))
    return box_masks([box_in(box, region.rectangle, region.size)], region.size)[0]


def _check_extent(extent: tuple[int, int], image: tuple[int, int], options: CropOptions) -> None:
    if extent[0] * extent[1] > max(MAX_PIXELS, image[0] * image[1]):
        raise InputError(
            f"The aspect {options.aspect!r} widens a crop of an image of {image[0]} x {image[1]} to {extent[0]} x "
            f"{extent[1]} pixels, and {MAX_PIXELS} are the most. Set 'aspect' to {AS_BOX!r}, or use smaller images."
        )


def _output_size(extent: tuple[int, int], image: tuple[int, int], options: CropOptions) -> tuple[int, int]:
    if options.resize == KEEP:
        return extent
    ratio = options.ratio(image)
    # By the aspect itself and not by the rectangle's rounded sides, so that all crops come out at one size.
    shape = extent if ratio is None else (ratio, 1.0)
    if options.resize == LONGER:
        scale = options.size / max(shape)
    else:
        scale = min(options.size / min(shape), max(LONGEST, options.size) / max(shape))
    width, height = (
        max(1, math.floor(side * scale / options.multiple_of + 0.5)) * options.multiple_of for side in shape
    )
    return width, height

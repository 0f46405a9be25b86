"""Impact Pack's ``SEGS``: the boxes of one image with their surroundings and masks.

``SEGS`` is ``((height, width), [SEG, …])``; consumers use a SEG's fields by name and call its ``_replace``, so any
named tuple with these fields will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import Cancel, InputError, check_cancelled
from ..images.limits import MAX_PIXELS
from .bounding_box import (
    BoxDict,
    Boxes,
    as_boxes,
    corners,
    finite,
    from_corners,
    label_of,
    score_of,
    shortened,
    shown,
)
from .geometry import check_pixels, pixel_rectangle, place_span


class Seg(NamedTuple):
    """One region of an image.

    Attributes:
        cropped_image: (1, h, w, C) float32 in 0..1 of ``crop_region``; or None: consumers then cut it themselves.
        cropped_mask: (h, w) float32, the size of ``crop_region``: 1 in the box.
        confidence: The score.
        crop_region: [x1, y1, x2, y2] in whole pixels: the box with its surroundings, inside the image.
        bbox: [x1, y1, x2, y2] in whole pixels.
        label: What it is.
        control_net_wrapper: Set by consumers.
    """

    cropped_image: npt.NDArray[np.float32] | None
    cropped_mask: npt.NDArray[np.float32]
    confidence: float
    crop_region: list[int]
    bbox: list[int]
    label: str
    control_net_wrapper: Any = None


class _BoxSeg(Seg):
    """A SEG whose arrays are made when they are asked for: those of large boxes, which nobody may look at, fill memory.

    In their places it holds what makes them, until a consumer puts others there. Each is a new one each time.
    """

    __slots__ = ()

    @property
    def cropped_image(self) -> Any:
        """As in :class:`Seg`."""
        return self[0]() if isinstance(self[0], partial) else self[0]

    @property
    def cropped_mask(self) -> Any:
        """As in :class:`Seg`."""
        return self[1]() if isinstance(self[1], partial) else self[1]


Segs = tuple[tuple[int, int], list[Any]]


def to_segs(
    boxes: Iterable[BoxDict],
    size: tuple[int, int],
    *,
    crop_factor: float = 3.0,
    dilation: int = 0,
    drop_size: int = 1,
    image: Tensor | None = None,
    hook: Any = None,
    cancelled: Cancel = None,
) -> Segs:
    """Makes SEGS of the boxes of one image.

    Args:
        boxes: In pixels; those of which the image shows nothing are left out.
        size: (width, height) of the image.
        crop_factor: How many times the box's width and height the crop region has, as far as the image goes.
        dilation: Grows the mask by so many pixels each way, half on each side, within the crop region; less than 0
            shrinks it.
        drop_size: Leaves out boxes that are not wider and higher than this.
        image: (1, H, W, C) for ``cropped_image``.
        hook: Impact's detailer hook, which may move crop regions.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.

    Returns:
        ``((height, width), [Seg, …])``.

    Raises:
        InputError: If all crop regions would have more than ``MOST_PIXELS`` together.
    """
    width, height = size
    planned: list[tuple[BoxDict, list[int], list[int]]] = []
    for box in shown(boxes, size):
        bbox = list(pixel_rectangle(corners(box), size))
        if min(bbox[2] - bbox[0], bbox[3] - bbox[1]) <= max(drop_size, 0):
            continue
        region = _crop_region(bbox, size, crop_factor)
        if hook is not None and hasattr(hook, "post_crop_region"):
            region = [int(edge) for edge in hook.post_crop_region(width, height, bbox, region)]
        planned.append((box, bbox, region))
    pixels = sum((x2 - x1) * (y2 - y1) for _, _, (x1, y1, x2, y2) in planned)
    check_pixels(pixels, "The crop regions of SEGS")
    found: list[Any] = []
    for box, bbox, region in planned:
        check_cancelled(cancelled)
        x1, y1, x2, y2 = region
        cropped: Any = None if image is None else partial(_copy, image[:1, y1:y2, x1:x2])
        mask: Any = partial(_mask, tuple(bbox), tuple(region), dilation)
        found.append(_BoxSeg(cropped, mask, score_of(box), region, bbox, label_of(box)))
    return (height, width), found


def _copy(image: Tensor) -> npt.NDArray[np.float32]:
    return image.detach().to("cpu", torch.float32).numpy().copy()


def from_segs(segs: Any) -> Boxes:
    """The boxes of SEGS, as those of one image, with labels and scores.

    Args:
        segs: ``((height, width), [SEG, …])``, SEGs by anyone.

    Raises:
        InputError: If a SEG's bbox is not four numbers, its confidence no number or its label no text.
    """
    boxes = []
    for number, seg in enumerate(segs[1], 1):
        edges = [finite(edge) for edge in _listed(seg.bbox)]
        known = [edge for edge in edges if edge is not None]
        if len(known) != 4 or len(edges) != 4:
            raise InputError(
                f"The bbox of SEG {number}, {shortened(seg.bbox)}, is not four finite numbers. Use SEGS of a detector."
            )
        score = next(iter(_listed(seg.confidence)), None)
        boxes.append(from_corners(known, {"label": seg.label} | ({} if score is None else {"score": score})))
    return as_boxes(boxes)


def segs_size(segs: Any) -> tuple[int, int]:
    """(width, height) of the image of SEGS.

    Raises:
        InputError: If no image has that size.
    """
    height, width = segs[0]
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise InputError(
            f"The SEGS are of an image of {shortened(width)} x {shortened(height)}, which no image is. Connect the "
            "image that they were found in."
        )
    return width, height


def segs_mask(segs: Segs) -> Tensor:
    """All masks of SEGS together: (H, W) float32, the size of the image."""
    (height, width), found = segs
    mask = np.zeros((height, width), dtype=np.float32)
    for seg in found:
        x1, y1, x2, y2 = seg.crop_region
        np.maximum(mask[y1:y2, x1:x2], seg.cropped_mask, out=mask[y1:y2, x1:x2])
    return torch.from_numpy(mask)


def is_segs(value: object) -> bool:
    """Whether a value is built like SEGS."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and isinstance(value[0], (tuple, list))
        and len(value[0]) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in value[0])
        and isinstance(value[1], (list, tuple))
        and all(hasattr(seg, name) for seg in value[1] for name in ("bbox", "confidence", "label"))
    )


def _crop_region(bbox: Sequence[int], size: tuple[int, int], factor: float) -> list[int]:
    """The box times ``factor`` about its centre, inside the image; no smaller than the box."""
    x1, y1, x2, y2 = bbox
    left, right = place_span((x1 + x2) / 2, min(max(int((x2 - x1) * factor), x2 - x1), size[0]), size[0])
    top, bottom = place_span((y1 + y2) / 2, min(max(int((y2 - y1) * factor), y2 - y1), size[1]), size[1])
    return [left, top, right, bottom]


def _mask(bbox: Sequence[int], region: Sequence[int], dilation: int) -> npt.NDArray[np.float32]:
    """A box within its crop region, grown or shrunk as a square kernel of ``dilation`` pixels would."""
    mask = np.zeros((region[3] - region[1], region[2] - region[0]), dtype=np.float32)
    extent = max(abs(dilation) - 1, 0)
    low, high = extent // 2, extent - extent // 2
    if dilation < 0:
        low, high = -high, -low
    x1, y1 = (max(bbox[axis] - region[axis] - low, 0) for axis in (0, 1))
    x2, y2 = (bbox[axis + 2] - region[axis] + high for axis in (0, 1))
    mask[y1 : max(y2, 0), x1 : max(x2, 0)] = 1
    return mask


def _listed(value: Any) -> list[Any]:
    """Numbers of a list, tuple, array or tensor, or a number alone."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, (list, tuple)) else [value]

"""Draws detections over their picture, fills them in a mask, and cuts them out."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ..boxes.answers import Detection
from ..boxes.geometry import Rectangle, pairwise_intersection
from ..boxes.masks import union_masks
from ..errors import Cancel, check_cancelled
from .fonts import SMALLEST, Font, letters
from .picture import ArrayPicture, Picture

Color = tuple[int, int, int]

_HUES = (355, 212, 50, 140, 285, 25, 178, 82, 322, 245)
_MAX_LABEL = 120
_MAX_ROWS = 8
"""How many label heights above or below its box a label may go to find a free place."""
_LEAST_LABELS = 8
"""A picture that has not room for so many labels like the one to be drawn is too small for it."""
_MAX_PLACED = 256
"""How many labels look for a free place; where more are, none is free, and each search takes longer."""


def draw_detections(image: Picture, detections: Sequence[Detection], cancelled: Cancel = None) -> Image.Image:
    """Draws each detection's box with its label and score.

    A label has one colour on all pictures (as long as no other label of the picture wants the same). Lines have dark
    rims, so that they show on a ground of their own colour. Lines and letters grow with the picture. A label
    that several boxes have gets a number. In a picture so small that a label would hide an eighth of it, the number of
    the detection stands in its place, from 1.

    Args:
        image: The picture that the detections are of; it is left as it is.
        detections: What to draw; labels may be in any script.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked before each label.

    Returns:
        An RGB image of the same size.
    """
    canvas = image.whole(cancelled) if isinstance(image, ArrayPicture) else image.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    scale = math.sqrt(canvas.width * canvas.height)
    line = max(1, round(min(scale / 300, min(canvas.size) / 24)))
    colors = label_colors(detection.label for detection in detections)
    for detection in sorted(detections, key=lambda d: d.width * d.height, reverse=True):
        _draw_box(draw, detection.xyxy, colors[detection.label], line)
    boxes = [detection.xyxy for detection in detections[:_MAX_PLACED]]
    taken: list[Rectangle] = []
    names = _numbered([detection.label for detection in detections])
    for number, (detection, name) in enumerate(zip(detections, names, strict=True)):
        check_cancelled(cancelled)
        tag = _fit_tag(name, detection.score, canvas.size, crowd=len(detections) / 30)
        if tag.width * tag.height * _LEAST_LABELS > canvas.width * canvas.height:
            tag = _measure(f"{number + 1}", SMALLEST)
        heeded = (boxes, taken) if number < _MAX_PLACED else ([], [])
        plate = _plate(tag, detection.xyxy, *heeded, canvas.size)
        taken.append(plate)
        _draw_tag(draw, tag, plate, colors[detection.label], line)
    return canvas


def detections_mask(size: tuple[int, int], detections: Iterable[Detection]) -> Image.Image:
    """Fills the boxes.

    Args:
        size: (width, height) of the picture in pixels.
        detections: Their boxes may overlap.

    Returns:
        A mode ``L`` image: 255 inside any box, 0 elsewhere.
    """
    (mask,) = union_masks([[detection.to_dict() for detection in detections]], size)
    return Image.fromarray((255 * mask.numpy()).astype(np.uint8))


def crop_detections(image: Picture, detections: Iterable[Detection]) -> list[Image.Image]:
    """Cuts each detection's box out of the picture; the crops have its mode and the order of the detections."""
    return [image.crop(detection.xyxy) for detection in detections]


@dataclass(frozen=True)
class _Tag:
    """A label as it will be written; ``width`` and ``height`` are those of its plate, in pixels."""

    text: str
    font: Font
    padding: int
    width: int
    height: int


def label_colors(labels: Iterable[str]) -> dict[str, Color]:
    """Gives each label a colour, RGB of 0 to 255: first vivid ones, then pale ones, then again from the start."""
    count = len(_HUES)
    free = set(range(2 * count))
    colors: dict[str, Color] = {}
    for label in sorted(set(labels)):
        wanted = zlib.crc32(label.encode("utf-8", "surrogatepass"))
        free = free or set(range(2 * count))
        slot = min(free, key=lambda slot: (slot // count, (slot - wanted) % count))
        free.discard(slot)
        saturation, value = (0.85, 0.95) if slot < count else (0.35, 1.0)
        red, green, blue = colorsys.hsv_to_rgb(_HUES[slot % count] / 360, saturation, value)
        colors[label] = (round(red * 255), round(green * 255), round(blue * 255))
    return colors


def _rim(line: int) -> int:
    return max(1, line // 3)


def _draw_box(draw: ImageDraw.ImageDraw, box: Rectangle, color: Color, line: int) -> None:
    """Draws a coloured frame along the inside of a box, between two dark rims."""
    rim = _rim(line)
    for grow, width, shade in ((rim, line + 2 * rim, (0, 0, 0)), (0, line, color)):
        left, top, right, bottom = box[0] - grow, box[1] - grow, box[2] - 1 + grow, box[3] - 1 + grow
        # Pillow draws a frame wider than half its box beyond the box.
        width = min(width, min(right - left, bottom - top) // 2 + 1)
        draw.rectangle((left, top, right, bottom), outline=shade, width=width)


def _draw_tag(draw: ImageDraw.ImageDraw, tag: _Tag, plate: Rectangle, color: Color, line: int) -> None:
    """Writes a label on a plate of its colour."""
    red, green, blue = color
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"
    draw.rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=color, outline="black", width=_rim(line))
    draw.text((plate[0] + tag.padding, (plate[1] + plate[3]) / 2), tag.text, fill=ink, font=tag.font, anchor="lm")


def _numbered(labels: Sequence[str]) -> list[str]:
    """Labels by which boxes can be told apart: those that several have get a number, in front, where it is not cut."""
    several, met = Counter(labels), Counter[str]()
    names = []
    for label in labels:
        met[label] += 1
        names.append(f"{met[label]}. {label}" if label and several[label] > 1 else label)
    return names


def _fit_tag(name: str, score: float, size: tuple[int, int], crowd: float) -> _Tag:
    """Chooses letters as large as suits the picture; where they do not fit, smaller ones, then fewer."""
    width, height = size
    visible = "".join(char for char in name[:_MAX_LABEL] if char.isprintable() or char.isspace())
    label = " ".join(visible.split())
    full = f"{label} {score:.2f}".strip()
    best = min(math.sqrt(width * height) / 40, height / 5) / math.sqrt(max(1, crowd))
    largest = max(SMALLEST, round(best))
    for font_size in range(largest, SMALLEST - 1, -1):
        tag = _measure(full, font_size)
        if tag.width <= width:
            return tag
    for length in range(len(label) - 1, 0, -1):
        tag = _measure(f"{label[:length].rstrip()}…", SMALLEST)
        if tag.width <= width:
            return tag
    return _measure(f"{score:.2f}", SMALLEST)


def _measure(text: str, font_size: int) -> _Tag:
    """A text with the size of its plate, which leaves some padding around it."""
    text, any_size = letters(text)
    font = any_size.font_variant(size=font_size)
    padding = max(1, font_size // 4)
    ascent, descent = font.getmetrics()
    return _Tag(text, font, padding, math.ceil(font.getlength(text)) + 2 * padding, ascent + descent + padding)


def _plate(
    tag: _Tag, box: Rectangle, boxes: Sequence[Rectangle], taken: Sequence[Rectangle], size: tuple[int, int]
) -> Rectangle:
    """Puts a label where it hides least: never outside the picture, best above its box, not on another label.

    Hiding up to a seventh of a box counts as nothing, so a large box has its label inside.
    """
    left, top, right, bottom = box
    corners = [(left, top - tag.height), (left, top), (left, bottom), (left, bottom - tag.height)]
    corners += [(right - tag.width, corner[1]) for corner in corners]
    corners += [(right, top), (left - tag.width, top)]
    rows = range(1, min(len(taken), _MAX_ROWS) + 1)
    corners += [(left, top + step * tag.height) for row in rows for step in (row, -row)]
    x = np.clip([corner[0] for corner in corners], 0, max(0, size[0] - tag.width))
    y = np.clip([corner[1] for corner in corners], 0, max(0, size[1] - tag.height))
    plates = np.stack([x, y, x + tag.width, y + tag.height], axis=1)
    areas = np.array([(box[2] - box[0]) * (box[3] - box[1]) for box in boxes])
    hidden = pairwise_intersection(plates, boxes) / areas
    on_labels = pairwise_intersection(plates, taken) / (tag.width * tag.height)
    cost = 10 * on_labels.sum(axis=1) + np.where(hidden > 1 / 7, hidden, 0).sum(axis=1)
    left, top, right, bottom = plates[int(cost.argmin())].tolist()
    return left, top, right, bottom

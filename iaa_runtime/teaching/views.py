"""One picture seen in several ways, and where its boxes are in each: mirrored, cut, with borders, in other light."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ..boxes.geometry import Box, Rectangle, intersection
from ..config import CLIP_MEAN
from ..images.preprocess import mean_color

SIDES = re.compile(r"\b(left|right|leftmost|rightmost|left-?hand|right-?hand)\b|左|右", re.IGNORECASE)
"""Words that a mirror makes wrong."""
KEPT, LOST = 0.7, 0.1
"""Of a box this share must stay in sight, or at most that, and then it counts as gone; what lies between is no view."""
_TRIES = 12
_LIGHT = (0.75, 1.3)
_PASTED = (0.3, 0.7)
"""Least and greatest share of a view that another picture is pasted over."""


@dataclass(frozen=True)
class View:
    """How a picture is seen.

    Attributes:
        window: what of the picture is seen, in its pixels; it may reach beyond, where there is a border.
        mirrored: left and right are swapped.
        light: factors of brightness, contrast and saturation.
        hue: by how much colours are turned around the circle of hues, 0 to 1.
        border: RGB of 0 to 255.
        hidden: boxes of the picture that are painted over with the colour around them.
    """

    window: Rectangle
    mirrored: bool = False
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    hue: float = 0.0
    border: tuple[int, int, int] = (0, 0, 0)
    hidden: tuple[Box, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what is seen, in pixels."""
        left, top, right, bottom = self.window
        return right - left, bottom - top

    def show(self, picture: Image.Image) -> Image.Image:
        """What is seen of an RGB picture; the whole of it is the picture itself."""
        if self == whole(picture.size):
            return picture
        for box in self.hidden:
            picture = _painted_over(picture, box)
        left, top, right, bottom = self.window
        inner = (max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom))
        seen = picture.crop(inner)
        for enhancer, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self.light, strict=True
        ):
            if factor != 1:
                seen = enhancer(seen).enhance(factor)
        if self.hue:
            seen = _turned(seen, self.hue)
        canvas = Image.new("RGB", self.size, self.border)
        canvas.paste(seen, (inner[0] - left, inner[1] - top))
        return ImageOps.mirror(canvas) if self.mirrored else canvas

    def boxes(self, boxes: Iterable[Box]) -> tuple[Box, ...] | None:
        """Where boxes are in the view, in its pixels: those that are gone left out; None where one is cut in two."""
        found = []
        for box in boxes:
            shared = intersection(box, tuple(map(float, self.window)))
            share = _area(shared) / _area(box) if shared else 0.0
            if LOST < share < KEPT:
                return None
            if shared and share >= KEPT and box not in self.hidden:
                x1, x2 = (x - self.window[0] for x in (shared[0], shared[2]))
                y1, y2 = (y - self.window[1] for y in (shared[1], shared[3]))
                found.append((self.size[0] - x2, y1, self.size[0] - x1, y2) if self.mirrored else (x1, y1, x2, y2))
        return tuple(found)


def whole(size: tuple[int, int]) -> View:
    """A picture of ``size`` as it is."""
    return View((0, 0, *size))


def can_mirror(texts: Iterable[str]) -> bool:
    """Whether no text speaks of left or right."""
    return not any(SIDES.search(text) for text in texts)


def random_view(
    size: tuple[int, int],
    boxes: Sequence[Box],
    rng: random.Random,
    *,
    mirror: bool,
    cut: bool = True,
    recolor: bool = False,
) -> View:
    """Draws a view in which every box is whole or gone, and one at least is there if there are any.

    Args:
        size: of the picture, (width, height) in pixels.
        boxes: in its pixels.
        rng: the source.
        mirror: it may be mirrored.
        cut: it may be cut; with borders and other light, it is in any case.
        recolor: its colours may be turned.
    """
    for _ in range(_TRIES):
        view = _draw(size, rng, mirror, cut, recolor)
        there = view.boxes(boxes)
        if there is not None and (there or not boxes):
            return view
    return _draw(size, rng, mirror, cut=False, recolor=recolor)


def view_without(
    size: tuple[int, int], boxes: Sequence[Box], rng: random.Random, *, mirror: bool, recolor: bool = False
) -> View:
    """Draws a view in which no box is left: a part of the picture beside them, or they are painted over."""
    for _ in range(_TRIES):
        view = _draw(size, rng, mirror, True, recolor)
        if view.boxes(boxes) == ():
            return view
    return replace(random_view(size, boxes, rng, mirror=mirror, recolor=recolor), hidden=tuple(boxes))


def cutmix(seen: Image.Image, other: Image.Image, rng: random.Random) -> Image.Image:
    """A part of another picture pasted over one side of a view (CutMix: Yun et al., arXiv 1905.04899).

    So a few pictures become many, of which some hold more things than any of them.

    Args:
        seen: the view, RGB.
        other: the other picture, RGB, of any size.
        rng: the source.

    Returns:
        A new picture of the view's size.
    """
    width, height = seen.size
    share = rng.uniform(*_PASTED)
    size = rng.choice(((max(1, round(width * share)), height), (width, max(1, round(height * share)))))
    corner = rng.choice(((0, 0), (width - size[0], height - size[1])))
    of_other = random_view(other.size, [], rng, mirror=False).show(other)
    canvas = seen.copy()
    canvas.paste(ImageOps.fit(of_other, size, centering=(rng.random(), rng.random())), corner)
    return canvas


def _draw(size: tuple[int, int], rng: random.Random, mirror: bool, cut: bool, recolor: bool) -> View:
    width, height = size
    kind = rng.random()
    if cut and kind < 0.55:  # a part of the picture, in which things are larger
        scale = rng.uniform(0.5, 1.0)
        stretch = rng.uniform(0.8, 1.25)
        columns, rows = (
            min(length, max(8, round(length * scale * factor)))
            for length, factor in ((width, stretch), (height, 1 / stretch))
        )
        left, top = rng.randint(0, width - columns), rng.randint(0, height - rows)
        window = (left, top, left + columns, top + rows)
    elif kind < 0.85:  # with borders, so that things are smaller and elsewhere
        most = 0.35 * max(size)
        left, top, right, bottom = (round(rng.random() * most) for _ in range(4))
        window = (-left, -top, width + right, height + bottom)
    else:
        window = (0, 0, width, height)
    light = tuple(rng.uniform(*_LIGHT) for _ in range(3)) if rng.random() < 0.7 else (1.0, 1.0, 1.0)
    grey = rng.randint(40, 215)
    border = rng.choice((mean_color(CLIP_MEAN), (grey, grey, grey)))
    hue = rng.random() if recolor and rng.random() < 0.7 else 0.0
    return View(window, mirror and rng.random() < 0.5, light, hue, border)  # type: ignore[arg-type]


def _turned(picture: Image.Image, hue: float) -> Image.Image:
    """The picture with its colours turned around the circle of hues; greys stay."""
    turned = picture.convert("HSV")
    hues, *rest = turned.split()
    step = round(hue * 256)
    hues = hues.point([(value + step) % 256 for value in range(256)])
    return Image.merge("HSV", (hues, *rest)).convert("RGB")


def _painted_over(picture: Image.Image, box: Box) -> Image.Image:
    """The picture with a box, and a little around it, in the middle colour of a thin frame around that."""
    margin = max(2.0, 0.06 * max(box[2] - box[0], box[3] - box[1]))
    left, top, right, bottom = (round(edge + way * margin) for edge, way in zip(box, (-1, -1, 1, 1), strict=True))
    inner = (max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom))
    outer = (max(0, left - 2), max(0, top - 2), min(picture.width, right + 2), min(picture.height, bottom + 2))
    around = np.asarray(picture.crop(outer)).copy()
    mask = np.ones(around.shape[:2], dtype=bool)
    mask[inner[1] - outer[1] : inner[3] - outer[1], inner[0] - outer[0] : inner[2] - outer[0]] = False
    color = np.median(around[mask], axis=0) if mask.any() else np.array([128, 128, 128])
    painted = picture.copy()
    painted.paste(tuple(int(value) for value in color), inner)
    return painted


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])

"""Things that no scene holds, drawn among its shapes: what the demo model can be taught, and be tested on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..boxes.geometry import Box, intersection
from ..errors import Cancel, InputError
from .scenes import COLORS, RGB, Scene, draw_scene, make_scene, shade

Draw = Callable[[ImageDraw.ImageDraw, float, RGB, random.Random], None]
"""Draws into a rectangle of a height from (0, 0), from edge to edge, in a colour."""
FINE = 4
"""Things are drawn so many times as large, and reduced."""
_MARGIN, _TRIES = 2, 40
_HEIGHTS = (0.16, 0.32)
"""Of a thing, as fractions of the picture's longer side: as large as the shapes."""


@dataclass(frozen=True)
class NewThing:
    """How a thing is drawn, and its width over its height."""

    draw: Draw
    aspect: float = 1.0


def _draw_heart(draw: ImageDraw.ImageDraw, height: float, color: RGB, rng: random.Random) -> None:
    """Two lobes over a point."""
    points = []
    for step in range(120):
        t = 2 * math.pi * step / 120
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((16 * math.sin(t) ** 3, -y))
    left, top = (min(p[i] for p in points) for i in (0, 1))
    wide, high = (max(p[i] for p in points) - low for i, low in ((0, left), (1, top)))
    draw.polygon([((x - left) / wide * height, (y - top) / high * height) for x, y in points], fill=color)


def _draw_house(draw: ImageDraw.ImageDraw, height: float, color: RGB, rng: random.Random) -> None:
    """Walls, a roof of another colour, a door."""
    roof = rng.choice([rgb for rgb in COLORS.values() if math.dist(rgb, color) > 120])
    draw.rectangle((0.08 * height, 0.45 * height, 0.92 * height, height), fill=color)
    draw.polygon([(0, 0.45 * height), (0.5 * height, 0), (height, 0.45 * height)], fill=roof)
    draw.rectangle((0.42 * height, 0.66 * height, 0.6 * height, height), fill=roof)


def _draw_traffic_light(draw: ImageDraw.ImageDraw, height: float, color: RGB, rng: random.Random) -> None:
    """A dark case with a red, a yellow and a green lamp."""
    draw.rounded_rectangle((0, 0, 0.45 * height, height), 0.08 * height, fill=(40, 40, 44))
    for number, name in enumerate(("red", "yellow", "green")):
        x, y, r = 0.225 * height, (0.19 + 0.31 * number) * height, 0.125 * height
        draw.ellipse((x - r, y - r, x + r, y + r), fill=COLORS[name])


NEW_THINGS: dict[str, NewThing] = {
    "heart": NewThing(_draw_heart),
    "house": NewThing(_draw_house),
    "traffic light": NewThing(_draw_traffic_light, 0.45),
}
"""By the words for them."""


def draw_with(
    name: str, seed: int, *, long_side: int | None = None, aspect: float | None = None, cancelled: Cancel = None
) -> tuple[Image.Image, Box]:
    """A scene of one to four shapes, and a thing that covers none of them.

    Args:
        name: of ``NEW_THINGS``.
        seed: any integer; equal seeds and options give equal pictures.
        long_side: of the picture in pixels; by default drawn, as :func:`.scenes.make_scene` does.
        aspect: likewise.
        cancelled: True raises :class:`Cancelled`.

    Returns:
        The picture, and the thing's box in its pixels: x1, y1, x2, y2.

    Raises:
        InputError: there is no room for it.
    """
    thing = NEW_THINGS[name]
    for attempt in range(100):
        rng = random.Random(f"{name} {seed} {attempt}")
        scene = make_scene(seed + 1000 * attempt, long_side=long_side, aspect=aspect, shapes=rng.randint(1, 4))
        height = rng.uniform(*_HEIGHTS) * scene.long_side
        box = find_room(rng, scene, height * thing.aspect, height)
        if box is not None:
            return _drawn(thing.draw, scene, box, rng, cancelled), box
    raise InputError(
        f"There is no room for a {name} among the shapes of seed {seed}. Take a larger or squarer picture."
    )


def find_room(rng: random.Random, scene: Scene, width: float, height: float) -> Box | None:
    """Draws a place for a thing of so many pixels that covers no shape of a scene; None where none was found."""
    if width > scene.width - 2 * _MARGIN or height > scene.height - 2 * _MARGIN:
        return None
    for _ in range(_TRIES):
        x = rng.uniform(_MARGIN, scene.width - width - _MARGIN)
        y = rng.uniform(_MARGIN, scene.height - height - _MARGIN)
        box = (x, y, x + width, y + height)
        if not any(intersection(box, shape.box) for shape in scene.shapes):
            return box
    return None


def paste_fine(picture: Image.Image, thing: Image.Image, at: tuple[float, float]) -> tuple[float, float]:
    """Pastes a thing into a picture, antialiased.

    Args:
        picture: changed in place.
        thing: RGBA, ``FINE`` times as large as it will be.
        at: x and y of its top left corner, in the picture's pixels.

    Returns:
        ``at``, as far as a ``FINE``-th of a pixel tells.
    """
    left, top = math.floor(at[0]), math.floor(at[1])
    x, y = round((at[0] - left) * FINE), round((at[1] - top) * FINE)
    fine = Image.new("RGBA", (math.ceil((x + thing.width) / FINE) * FINE, math.ceil((y + thing.height) / FINE) * FINE))
    fine.paste(thing, (x, y))
    small = fine.reduce(FINE)
    picture.paste(small, (left, top), small)
    return left + x / FINE, top + y / FINE


def _drawn(draw: Draw, scene: Scene, box: Box, rng: random.Random, cancelled: Cancel) -> Image.Image:
    picture = draw_scene(scene, cancelled)
    # To the end of the last pixel that the box touches, and no further.
    columns, rows = (math.ceil(box[i + 2]) * FINE - round(box[i] * FINE) for i in (0, 1))
    thing = Image.new("RGBA", (columns, rows))
    draw(ImageDraw.Draw(thing), (box[3] - box[1]) * FINE, shade(rng, rng.choice(list(COLORS))), rng)
    paste_fine(picture, thing, box[:2])
    return picture

"""Things that no word of the demo model names, composed at random: the tower learns where such things end, too.

A tower that is taught six shapes alone sees a house as a triangle and a square, and whoever teaches the model houses
has to mend that with forty pictures. CLIP's tower has seen everything; this one learns that parts may belong together.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from iaa_runtime.boxes.geometry import Box, intersection
from iaa_runtime.shapes.scenes import COLORS, RGB, Scene, draw_scene, make_scene

_FINE = 4
_SIDES = (0.12, 0.5)
"""Longer side of a thing, as a fraction of the picture's longer side: also as large as in a part of a picture."""
_ASPECT = (0.38, 2.6)
_ROOM = 4.0
_TRIES = 40
_FIRST_SEED = 200_000_000
"""Scenes of other seeds than those that MM and G learn from."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Unnamed:
    """A picture with an unnamed thing.

    Attributes:
        scene: its shapes.
        picture: it.
        box: of the thing, in the picture's pixels.
        thing: itself, RGBA, cut to its edges.
    """

    scene: Scene
    picture: Image.Image
    box: Box
    thing: Image.Image


def draw_unnamed(seed: int) -> Unnamed:
    """A scene of one to four shapes, and a thing that covers none of them."""
    for attempt in range(100):
        rng = random.Random(f"unnamed {seed} {attempt}")
        first = _FIRST_SEED + seed + 1000 * attempt
        scene = make_scene(first, long_side=rng.randint(110, 330), shapes=rng.randint(1, 4))
        width, height = _extent(rng, scene.long_side)
        if width > scene.width - _ROOM or height > scene.height - _ROOM:
            continue
        for _ in range(_TRIES):
            x, y = rng.uniform(0, scene.width - width), rng.uniform(0, scene.height - height)
            if any(intersection((x, y, x + width, y + height), shape.box) for shape in scene.shapes):
                continue
            thing = compose(rng, round(width * _FINE), round(height * _FINE))
            if thing is not None:
                return _put(thing, scene, (x, y))
    raise AssertionError(f"no room for a thing among the shapes of seed {seed}")


def _extent(rng: random.Random, long_side: int) -> tuple[float, float]:
    side = math.exp(rng.uniform(*map(math.log, _SIDES))) * long_side
    aspect = min(_ASPECT[1], max(_ASPECT[0], math.exp(rng.gauss(0, 0.35))))
    return (side, side / aspect) if aspect > 1 else (side * aspect, side)


def _put(thing: Image.Image, scene: Scene, at: tuple[float, float]) -> Unnamed:
    left, top = math.floor(at[0]), math.floor(at[1])
    x, y = (round((value - origin) * _FINE) for value, origin in zip(at, (left, top), strict=True))
    columns, rows = (math.ceil((start + length) / _FINE) for start, length in zip((x, y), thing.size, strict=True))
    fine = Image.new("RGBA", (columns * _FINE, rows * _FINE))
    fine.paste(thing, (x, y))
    small = fine.reduce(_FINE)
    picture = draw_scene(scene)
    picture.paste(small, (left, top), small)
    x1, y1 = left + x / _FINE, top + y / _FINE
    return Unnamed(scene, picture, (x1, y1, x1 + thing.width / _FINE, y1 + thing.height / _FINE), thing)


def compose(rng: random.Random, width: int, height: int) -> Image.Image | None:
    """One to three parts in a row, mostly one above the other, often with details on one of them.

    Args:
        rng: the source.
        width: of the thing in pixels, about.
        height: likewise.

    Returns:
        RGBA, cut to what is drawn; None where that came out much too small.
    """
    image = Image.new("RGBA", (max(8, width), max(8, height)))
    count = rng.choices((1, 2, 3), weights=(4, 5, 2))[0]
    if count == 2:
        edges = [0.0, rng.uniform(0.25, 0.75), 1.0]
    else:
        edges = [0.0, *(i / count + rng.uniform(-0.08, 0.08) for i in range(1, count)), 1.0]
    stacked, widest, plain = rng.random() < 0.7, rng.randrange(count), rng.random() < 0.25
    color, bodies = _color(rng), list[Box]()
    for i in range(count):
        share = 1.0 if i == widest else rng.uniform(0.35, 1)
        start = (1 - share) * rng.choice((0.5, 0.5, rng.random()))
        low, high = max(0.0, edges[i] - 0.04), edges[i + 1]
        x1, y1, x2, y2 = (start, low, start + share, high) if stacked else (low, start, high, start + share)
        body = (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)
        _draw_part(ImageDraw.Draw(image), rng, body, color, _OUTLINES if count == 1 else _PARTS)
        bodies.append(body)
        color = color if plain else _color(rng)
    if rng.random() < 0.5:
        _draw_details(image, rng, rng.choice(bodies))
    edge = image.getchannel("A").getbbox()
    if edge is None or edge[2] - edge[0] < 0.5 * image.width or edge[3] - edge[1] < 0.5 * image.height:
        return None
    return image.crop(edge)


def _color(rng: random.Random) -> RGB:
    if rng.random() < 0.25:
        return rng.randint(10, 250), rng.randint(10, 250), rng.randint(10, 250)
    red, green, blue = (min(255, max(0, value + rng.randint(-12, 12))) for value in COLORS[rng.choice(list(COLORS))])
    return red, green, blue


def _draw_details(image: Image.Image, rng: random.Random, body: Box) -> None:
    """One to three small parts within another, in a row or anywhere."""
    width, height = body[2] - body[0], body[3] - body[1]
    side, count, in_a_row, color = (
        rng.uniform(0.15, 0.4) * min(width, height),
        rng.randint(1, 3),
        rng.random() < 0.4,
        _color(rng),
    )
    for i in range(count):
        x, y = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
        if in_a_row:
            x, y = ((i + 1) / (count + 1), 0.5) if width > height else (0.5, (i + 1) / (count + 1))
        x, y, high = body[0] + x * width, body[1] + y * height, side * rng.uniform(0.6, 1.6)
        detail = Image.new("RGBA", image.size)
        _draw_part(ImageDraw.Draw(detail), rng, (x - side / 2, y - high / 2, x + side / 2, y + high / 2), color, _PARTS)
        image.paste(detail, (0, 0), ImageChops.multiply(detail.getchannel("A"), image.getchannel("A")))
        color = _color(rng) if rng.random() < 0.4 else color


def _draw_part(draw: ImageDraw.ImageDraw, rng: random.Random, box: Box, color: RGB, kinds: tuple[str, ...]) -> None:
    x1, y1, x2, y2 = box
    kind = rng.choice(kinds)
    if kind == "rectangle":
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
    elif kind == "rounded":
        draw.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), rng.uniform(0.1, 0.45) * min(x2 - x1, y2 - y1), fill=color)
    elif kind == "ellipse":
        draw.ellipse((x1, y1, x2 - 1, y2 - 1), fill=color)
    else:
        points = _outline(kind, rng)
        lows, highs = ([pick(p[i] for p in points) for i in (0, 1)] for pick in (min, max))
        wide, high = (b - a for a, b in zip(lows, highs, strict=True))
        places = [((x - lows[0]) / wide, (y - lows[1]) / high) for x, y in points]
        draw.polygon([(x1 + x * (x2 - x1 - 1), y1 + y * (y2 - y1 - 1)) for x, y in places], fill=color)


_OUTLINES = ("half disc", "trapezoid", "polygon", "blob")
"""What stands alone is none of the shapes that have names."""
_PARTS = ("rectangle", "rounded", "ellipse", *_OUTLINES)


def _outline(kind: str, rng: random.Random) -> Points:
    if kind == "half disc":
        points = [(math.cos(angle), math.sin(angle)) for angle in (math.pi * i / 30 for i in range(31))]
    elif kind == "trapezoid":
        points = [(rng.uniform(0, 0.3), 0.0), (rng.uniform(0.5, 1), 0.0), (1.0, 1.0), (0.0, 1.0)]
    elif kind == "polygon":
        count = rng.randint(5, 10)
        points = [
            _around(2 * math.pi * (i + rng.uniform(-0.3, 0.3)) / count, rng.uniform(0.45, 1)) for i in range(count)
        ]
    else:
        waves = [(k, rng.uniform(0, 0.5 / k), rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4, 5)]
        angles = [2 * math.pi * i / 60 for i in range(60)]
        points = [_around(a, 1 + sum(size * math.cos(k * a + phase) for k, size, phase in waves)) for a in angles]
    for _ in range(rng.randrange(4)):
        points = [(-y, x) for x, y in points]
    return points


def _around(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)

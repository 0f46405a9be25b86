"""Things that no word of the demo model names, composed at random: the tower learns where such things end, too.

A tower that is taught six shapes alone sees a house as a triangle and a square, and whoever teaches the model houses
has to mend that with forty pictures. CLIP's tower has seen everything; this one learns that parts may belong together.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from iaa_runtime.boxes.geometry import Box
from iaa_runtime.shapes.new_things import FINE, find_room, paste_fine
from iaa_runtime.shapes.scenes import COLORS, RGB, Scene, draw_scene, make_scene, shade

_SIDES = (0.12, 0.5)
"""Longer side of a thing, as a fraction of the picture's longer side: from as small as a shape to what a crop shows."""
_ASPECTS = (0.38, 2.6)
"""Width by height, none likelier than another: of what is narrow the tower needs many, as it sees little of each."""
_FIRST_SEED = 200_000_000
"""Scenes of other seeds than those that MM and G learn from."""

_Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Unnamed:
    """A picture with an unnamed thing.

    Attributes:
        scene: the shapes beside it.
        picture: RGB.
        box: of the thing, in the picture's pixels.
        thing: RGBA, ``FINE`` times as large as in the picture, cut to its edges.
    """

    scene: Scene
    picture: Image.Image
    box: Box
    thing: Image.Image


def draw_unnamed(seed: int) -> Unnamed:
    """A scene of one to four shapes, and a thing that covers none of them; equal seeds give equal pictures."""
    for attempt in range(100):
        rng = random.Random(f"unnamed {seed} {attempt}")
        first = _FIRST_SEED + seed + 1000 * attempt
        scene = make_scene(first, long_side=rng.randint(110, 330), shapes=rng.randint(1, 4))
        width, height = _extent(rng, scene.long_side)
        place, thing = find_room(rng, scene, width, height), _compose(rng, round(width * FINE), round(height * FINE))
        if place is not None and thing is not None:
            picture = draw_scene(scene)
            x, y = paste_fine(picture, thing, place[:2])
            return Unnamed(scene, picture, (x, y, x + thing.width / FINE, y + thing.height / FINE), thing)
    raise AssertionError(f"no room for a thing among the shapes of seed {seed}")


def _extent(rng: random.Random, long_side: int) -> tuple[float, float]:
    side = math.exp(rng.uniform(*map(math.log, _SIDES))) * long_side
    aspect = math.exp(rng.uniform(*map(math.log, _ASPECTS)))
    return (side, side / aspect) if aspect > 1 else (side * aspect, side)


def _compose(rng: random.Random, width: int, height: int) -> Image.Image | None:
    """One to three parts, mostly one above the other, often with details on one of them; RGBA, cut to its edges.

    None where less than half of the width or height that was asked for, in pixels, is drawn on.
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
    return shade(rng, rng.choice(list(COLORS)))


def _draw_details(image: Image.Image, rng: random.Random, body: Box) -> None:
    """One to three small parts within another, in a row or anywhere."""
    width, height = body[2] - body[0], body[3] - body[1]
    side, count = rng.uniform(0.15, 0.4) * min(width, height), rng.randint(1, 3)
    in_a_row, color = rng.random() < 0.4, _color(rng)
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
    x2, y2 = max(x1 + 1, x2), max(y1 + 1, y2)
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


def _outline(kind: str, rng: random.Random) -> _Points:
    if kind == "half disc":
        points = [(math.cos(angle), math.sin(angle)) for angle in (math.pi * i / 30 for i in range(31))]
    elif kind == "trapezoid":
        points = [(rng.uniform(0, 0.3), 0.0), (rng.uniform(0.5, 1), 0.0), (1.0, 1.0), (0.0, 1.0)]
    elif kind == "polygon":
        count = rng.randint(5, 10)
        angles = [2 * math.pi * (i + rng.uniform(-0.3, 0.3)) / count for i in range(count)]
        points = [_around(angle, rng.uniform(0.45, 1)) for angle in angles]
    else:
        waves = [(k, rng.uniform(0, 0.5 / k), rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4, 5)]
        angles = [2 * math.pi * i / 60 for i in range(60)]
        points = [_around(a, 1 + sum(size * math.cos(k * a + phase) for k, size, phase in waves)) for a in angles]
    for _ in range(rng.randrange(4)):
        points = [(-y, x) for x, y in points]
    return points


def _around(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)

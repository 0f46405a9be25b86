"""Seeded scenes of colored shapes: layout, exact pixel boxes and antialiased drawing.

A scene is a pure function of its seed. Everything in it is laid out in fractions of the picture's longer side, which is
the side of the square the model pads the picture to, so a "small" shape is as visible in a 3:1 banner as in a square.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ..boxes.geometry import Box, intersection, pad_box
from ..errors import Cancel
from ..images.strips import strips

Kind = Literal["circle", "square", "triangle", "star", "cross", "ring"]
Size = Literal["small", "large"]
BackgroundKind = Literal["plain", "gradient", "noise", "stripes", "checks"]
RGB = tuple[int, int, int]

KINDS: tuple[Kind, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS: dict[str, RGB] = {
    "red": (214, 38, 40),
    "orange": (247, 140, 22),
    "yellow": (246, 222, 46),
    "green": (38, 152, 62),
    "cyan": (58, 208, 222),
    "blue": (38, 78, 208),
    "purple": (124, 48, 166),
    "pink": (250, 138, 190),
    "brown": (118, 72, 36),
    "black": (22, 22, 24),
    "white": (250, 250, 250),
}
SIZES: dict[Size, tuple[float, float]] = {"small": (0.14, 0.18), "large": (0.24, 0.31)}
"""Longer side of a shape's box, as a fraction of the picture's longer side."""

BACKGROUNDS: tuple[BackgroundKind, ...] = ("plain", "gradient", "noise", "stripes", "checks")
MAX_SHAPES = 5
ASPECT_LIMIT = 3.0
EVALUATION_SEED = 1_000_000_000
"""Seeds from here on are never trained on."""

_SUPERSAMPLE = 4
_RING_HOLE = 0.52  # inner over outer diameter
_MARGIN = 0.008  # between a shape and the picture's edge
_OVERLAP = 0.10  # largest part of a shape's box that another's may cover
_CONTRAST = 95.0  # least RGB distance between a shape and the background


@dataclass(frozen=True)
class Shape:
    """One shape: what it is called, and the box, in pixels of the picture, that it fills from edge to edge.

    Attributes:
        size: None in a close-up, which does not tell it.
        box: ``(x1, y1, x2, y2)``, the exact extent of the outline, also where a neighbour covers a little of it.
        rotation: Radians, clockwise on screen.
        rgb: The color it is drawn in, a slight variation of the named one.
    """

    kind: Kind
    color: str
    size: Size | None
    box: Box
    rotation: float
    rgb: RGB

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box, pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Background:
    """A picture's background: two muted colors and their layout; ``period`` is in long sides."""

    kind: BackgroundKind
    first: RGB
    second: RGB
    angle: float
    period: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn: its size in pixels, its background, and its shapes in drawing order."""

    seed: int
    width: int
    height: int
    background: Background
    shapes: tuple[Shape, ...]

    @property
    def long_side(self) -> int:
        """Side of the padded square, pixels."""
        return max(self.width, self.height)

    @property
    def aspect(self) -> float:
        """Longer side over shorter side, at least 1."""
        return self.long_side / min(self.width, self.height)

    def square_box(self, index: int) -> Box:
        """Box of shape ``index`` as fractions of the padded square."""
        return pad_box(self.shapes[index].box, (self.width, self.height))


def outline(kind: Kind, rotation: float) -> npt.NDArray[np.float64]:
    """Polygon of a shape, turned, then scaled so that its bounding box starts at 0 and has a longer side of 1.

    Returns:
        ``(points, 2)`` x and y; for ``circle`` and ``ring`` the four extreme points of the unit circle.
    """
    if kind in ("circle", "ring"):
        return np.array([[0.0, 0.5], [0.5, 0.0], [1.0, 0.5], [0.5, 1.0]])
    if kind == "cross":
        arm = 0.34
        quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
        points = [(x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in quarter]
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[kind]
        radii = [1.0, 0.45] * 5 if kind == "star" else [1.0] * corners
        angles = [2 * math.pi * i / corners - math.pi / 2 for i in range(corners)]
        points = [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    cos, sin = math.cos(rotation), math.sin(rotation)
    turned = np.array(points) @ np.array([[cos, sin], [-sin, cos]])
    turned -= turned.min(axis=0)
    scaled: npt.NDArray[np.float64] = turned / turned.max()
    return scaled


def _rotation(rng: random.Random, kind: Kind) -> float:
    """Any turn; but many shapes stand upright, as people draw them."""
    if kind in ("circle", "ring"):
        return 0.0
    upright = math.pi / 4 if kind == "square" else 0.0
    return upright if rng.random() < 0.4 else rng.uniform(0, 2 * math.pi)


def _muted(rng: random.Random, against: list[RGB]) -> RGB:
    """A color of low saturation that contrasts with every color in ``against``, as far as a few tries allow."""
    best, best_distance = (128, 128, 128), -1.0
    for _ in range(60):
        grey, spread = rng.uniform(70, 225), rng.uniform(0, 22)
        color = (
            round(grey + rng.uniform(-spread, spread)),
            round(grey + rng.uniform(-spread, spread)),
            round(grey + rng.uniform(-spread, spread)),
        )
        nearest = min((math.dist(color, other) for other in against), default=_CONTRAST)
        if nearest >= _CONTRAST:
            return color
        if nearest > best_distance:
            best, best_distance = color, nearest
    return best


def _attributes(rng: random.Random, placed: list[Shape]) -> tuple[Kind, str, Size]:
    """Kind, color and size; often one that is there already, so that phrases need more than one word."""
    kind, color = rng.choice(KINDS), rng.choice(list(COLORS))
    size: Size = "small" if rng.random() < 0.5 else "large"
    if placed and rng.random() < 0.45:
        other = rng.choice(placed)
        if rng.random() < 0.5:
            kind = other.kind
        else:
            color = other.color
    return kind, color, size


def shade(rng: random.Random, color: str) -> RGB:
    """A slight variation of a named color, as every shape is drawn in."""
    red, green, blue = (min(255, max(0, c + rng.randint(-12, 12))) for c in COLORS[color])
    return red, green, blue


def _covered(a: Box, b: Box) -> float:
    """Shared area of two boxes over the smaller one's area."""
    shared = intersection(a, b)
    return _area(shared) / min(_area(a), _area(b)) if shared else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _place(rng: random.Random, width: int, height: int, placed: list[Shape]) -> Shape | None:
    """One more shape that covers at most a little of the others, or None where there is no room."""
    long_side = max(width, height)
    kind, color, size = _attributes(rng, placed)
    for attempt in range(40):
        if attempt == 20:
            size = "small"
        rotation = _rotation(rng, kind)
        side = rng.uniform(*SIZES[size]) * long_side
        extent = outline(kind, rotation).max(axis=0) * side
        margin = _MARGIN * long_side
        room = (width - extent[0] - 2 * margin, height - extent[1] - 2 * margin)
        if min(room) < 0:
            continue
        x, y = margin + rng.random() * room[0], margin + rng.random() * room[1]
        box = (float(x), float(y), float(x + extent[0]), float(y + extent[1]))
        allowed = _OVERLAP if rng.random() < 0.3 else 0.0
        if all(_covered(box, other.box) <= allowed for other in placed):
            return Shape(kind, color, size, box, rotation, shade(rng, color))
    return None


def make_scene(
    seed: int, *, long_side: int | None = None, aspect: float | None = None, shapes: int | None = None
) -> Scene:
    """Lays out the scene of a seed.

    Args:
        seed: Any integer; equal seeds and options give equal scenes.
        long_side: Longer side of the picture in pixels; by default drawn from 240 to 480.
        aspect: Width over height, from 1/3 to 3; by default drawn log-uniformly.
        shapes: How many shapes to try to place, 1 to 5; by default drawn. A crowded banner may hold fewer.

    Returns:
        The scene, with at least one shape.
    """
    rng = random.Random(seed)
    drawn_side, drawn_aspect = rng.randint(240, 480), ASPECT_LIMIT ** rng.uniform(-1, 1)
    drawn_count = rng.choices(range(1, MAX_SHAPES + 1), weights=(10, 20, 26, 24, 20))[0]
    side, ratio = long_side or drawn_side, aspect or drawn_aspect
    width, height = (side, max(1, round(side / ratio))) if ratio >= 1 else (max(1, round(side * ratio)), side)
    placed: list[Shape] = []
    for _ in range(shapes or drawn_count):
        shape = _place(rng, width, height, placed)
        if shape is not None:
            placed.append(shape)
    inks = [shape.rgb for shape in placed]
    kind = rng.choices(BACKGROUNDS, weights=(3, 3, 2, 1, 1))[0]
    first, second = _muted(rng, inks), _muted(rng, inks)
    background = Background(kind, first, second, rng.uniform(0, math.pi), rng.uniform(0.04, 0.16), rng.getrandbits(31))
    return Scene(seed, width, height, background, tuple(placed))


def _mixture(background: Background, width: int, height: int) -> npt.NDArray[np.float64]:
    """The second color's share in each pixel, ``(height, width)`` in [0, 1]; textures keep to a low contrast."""
    side = max(width, height)
    y, x = np.mgrid[0:height, 0:width] / side
    along = x * math.cos(background.angle) + y * math.sin(background.angle)
    mixture: npt.NDArray[np.float64] = np.zeros((height, width))
    if background.kind == "gradient":
        mixture = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    elif background.kind == "stripes":
        mixture = 0.35 * (np.sin(2 * math.pi * along / background.period) > 0)
    elif background.kind == "checks":
        mixture = 0.35 * ((np.floor(x / background.period) + np.floor(y / background.period)) % 2)
    elif background.kind == "noise":
        mixture = 0.6 * _noise(background.seed, width, height)
    return mixture


def _noise(seed: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """Smooth value noise, about 24 grains along the longer side, in [0, 1]."""
    side = max(width, height)
    rows, columns = (max(2, round(length / side * 24)) for length in (height, width))
    grain = np.random.default_rng(seed).random((rows, columns))
    grown = Image.fromarray(grain.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(grown, dtype=np.float64)


def _stencil(shape: Shape) -> tuple[Image.Image, tuple[int, int]]:
    """Coverage of a shape as an ``L`` image, and the pixel of the picture where its top left corner goes."""
    left, top = math.floor(shape.box[0]), math.floor(shape.box[1])
    columns, rows = math.ceil(shape.box[2]) - left, math.ceil(shape.box[3]) - top
    fine = Image.new("L", (columns * _SUPERSAMPLE, rows * _SUPERSAMPLE))
    draw = ImageDraw.Draw(fine)
    x1, y1, x2, y2 = (
        (value - origin) * _SUPERSAMPLE for value, origin in zip(shape.box, (left, top, left, top), strict=True)
    )
    if shape.kind in ("circle", "ring"):
        # PIL counts the far pixel in: an extent that ends at x covers pixels up to x - 1.
        draw.ellipse((x1, y1, x2 - 1, y2 - 1), fill=255)
        if shape.kind == "ring":
            inset_x, inset_y = (x2 - x1) * (1 - _RING_HOLE) / 2, (y2 - y1) * (1 - _RING_HOLE) / 2
            draw.ellipse((x1 + inset_x, y1 + inset_y, x2 - 1 - inset_x, y2 - 1 - inset_y), fill=0)
    else:
        side = max(x2 - x1, y2 - y1)
        points = outline(shape.kind, shape.rotation) * (side - 1) + (x1, y1)
        draw.polygon([(float(x), float(y)) for x, y in points], fill=255)
    return fine.reduce(_SUPERSAMPLE), (left, top)


def draw_scene(scene: Scene, cancelled: Cancel = None) -> Image.Image:
    """Draws a scene, antialiased.

    Args:
        scene: What to draw.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked every million pixels.

    Returns:
        An ``RGB`` picture of ``scene.width`` by ``scene.height`` pixels.
    """
    mixture = _mixture(scene.background, scene.width, scene.height)[..., None]
    first, second = np.array(scene.background.first), np.array(scene.background.second)
    picture = Image.new("RGB", (scene.width, scene.height))
    for box in strips(picture.size, cancelled):
        share = mixture[box[1] : box[3]]
        picture.paste(Image.fromarray(np.rint(first * (1 - share) + second * share).astype(np.uint8)), box)
    for shape in scene.shapes:
        stencil, corner = _stencil(shape)
        picture.paste(shape.rgb, (corner[0], corner[1], corner[0] + stencil.width, corner[1] + stencil.height), stencil)
    return picture

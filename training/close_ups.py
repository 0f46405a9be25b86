"""Close-ups: a shape cut out of a drawn scene, as MM sees it where boxes are captioned."""

from __future__ import annotations

import random
from dataclasses import replace

from iaa_runtime.shapes.scenes import Scene

EVERY = 8
"""One training picture in so many is a close-up."""
MARGINS = (0.05, 0.5)
"""How much of the surroundings is seen on each side, in extents of the shape's box."""

Window = tuple[int, int, int, int]


def is_close_up(seed: int) -> bool:
    """Whether the picture of a training seed is one."""
    return seed % EVERY == EVERY - 1


def close_up(scene: Scene, seed: int) -> tuple[Scene, Window]:
    """A scene of one of the shapes, without a size, which a close-up does not tell; and the pixels that it shows."""
    rng = random.Random(f"{seed} close-up")
    shape = rng.choice(scene.shapes)
    x1, y1, x2, y2 = shape.box
    margin = rng.uniform(*MARGINS)
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, top = max(0, int(x1 - across)), max(0, int(y1 - down))
    right, bottom = min(scene.width, round(x2 + across)), min(scene.height, round(y2 + down))
    box = (max(0.0, x1 - left), max(0.0, y1 - top), min(x2, right) - left, min(y2, bottom) - top)
    alone = replace(scene, width=right - left, height=bottom - top, shapes=(replace(shape, size=None, box=box),))
    return alone, (left, top, right, bottom)

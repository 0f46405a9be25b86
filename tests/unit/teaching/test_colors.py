"""Colours are turned where a thing comes in all of them, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iaa_runtime.shapes.scenes import COLORS, RGB
from iaa_runtime.teaching.colors import LEAST_BOXES, colors_vary
from iaa_runtime.teaching.examples import Example, Shown, by_picture
from iaa_runtime.teaching.views import View

ALL = tuple(COLORS.values())
BOX = (10.0, 10.0, 30.0, 30.0)


def shown(colors: tuple[RGB, ...], phrase: str = "it") -> list[Shown]:
    """Grey pictures with a box of each color."""
    examples = []
    for color in colors:
        picture = Image.new("RGB", (40, 40), (120, 120, 120))
        picture.paste(color, tuple(int(edge) for edge in BOX))
        examples.append(Example(picture, phrase, (BOX,)))
    return by_picture(examples)


@pytest.mark.parametrize(
    ("colors", "vary"),
    [
        (ALL, True),
        (tuple((0, green, 0) for green in range(140, 250, 10)), False),
        ((*ALL[:2], *[COLORS["green"]] * 8), False),
        (tuple((level, level, level) for level in range(20, 250, 20)), False),
        (ALL[: LEAST_BOXES - 1], False),
    ],
    ids=["all", "green", "mostly green", "grey", "few"],
)
def test_a_thing_of_all_colors_has_none_of_its_own(colors: tuple[RGB, ...], vary: bool) -> None:
    assert colors_vary(shown(colors)) is vary


def test_one_thing_that_has_a_color_is_enough() -> None:
    assert not colors_vary([*shown(ALL), *shown((COLORS["red"],) * 10, "the red one")])
    assert not colors_vary([])


def test_a_turned_hue_is_another_color_as_bright() -> None:
    picture = Image.new("RGB", (8, 8), (200, 40, 40))
    picture.paste((90, 90, 90), (0, 0, 4, 8))
    third = np.asarray(View((0, 0, 8, 8), hue=1 / 3).show(picture)).astype(int)
    assert np.abs(third[0, 7] - (40, 200, 40)).max() < 8 and np.abs(third[0, 0] - 90).max() < 3

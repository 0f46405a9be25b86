"""Boxes are where their things are in every view of a picture."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from iaa_runtime.boxes.geometry import iou
from iaa_runtime.teaching.views import View, can_mirror, cutmix, random_view, whole

BOX = (30.0, 20.0, 55.0, 50.0)


def picture() -> Image.Image:
    """Blue, with a red box."""
    image = Image.new("RGB", (100, 70), (0, 0, 255))
    image.paste((255, 0, 0), tuple(int(edge) for edge in BOX))
    return image


def red_box(image: Image.Image) -> tuple[float, float, float, float] | None:
    """The extent of what is more red than blue and green."""
    pixels = np.asarray(image).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > pixels[..., 2] + 40) & (pixels[..., 0] > pixels[..., 1] + 40))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def test_boxes_stay_with_their_things() -> None:
    mirrored = cut = bordered = 0
    for seed in range(200):
        view = random_view((100, 70), [BOX], random.Random(seed), mirror=True)
        placed = view.boxes([BOX])
        assert placed is not None and len(placed) == 1
        seen = view.show(picture())
        found = red_box(seen)
        assert seen.size == view.size and found is not None
        assert iou(found, placed[0]) > 0.85
        mirrored += view.mirrored
        cut += view.size < (100, 70)
        bordered += view.size > (100, 70)
    assert min(mirrored, cut, bordered) > 20


def test_the_whole_is_the_picture_itself() -> None:
    assert np.array_equal(np.asarray(whole((100, 70)).show(picture())), np.asarray(picture()))
    assert whole((100, 70)).boxes([BOX]) == (BOX,)


def test_a_box_that_is_cut_through_is_no_view_and_one_that_is_gone_is_absent() -> None:
    assert View((40, 0, 100, 70)).boxes([BOX]) is None
    assert View((60, 0, 100, 70)).boxes([BOX]) == ()


def test_what_is_hidden_is_neither_seen_nor_boxed() -> None:
    view = View((0, 0, 100, 70), hidden=(BOX,))
    assert red_box(view.show(picture())) is None
    assert view.boxes([BOX, (1.0, 1.0, 9.0, 9.0)]) == ((1.0, 1.0, 9.0, 9.0),)


@pytest.mark.parametrize(
    ("text", "mirror"), [("the cat", True), ("the LEFT cat", False), ("rightmost", False), ("a bright cat", True)]
)
def test_nothing_is_mirrored_whose_words_speak_of_sides(text: str, mirror: bool) -> None:
    assert can_mirror([text]) is mirror


@pytest.mark.parametrize("size", [(100, 70), (3, 400), (1, 1)])
def test_a_mixed_view_shows_both_pictures_each_on_a_side(size: tuple[int, int]) -> None:
    seen, other = Image.new("RGB", size, (0, 0, 255)), Image.new("RGB", (50, 90), (255, 0, 0))
    cut = set()
    for seed in range(40):
        both = cutmix(seen, other, random.Random(seed))
        assert both.size == size and seen.getcolors() == [(size[0] * size[1], (0, 0, 255))]
        own = (np.asarray(both) == (0, 0, 255)).all(-1)
        share = 1 - own.mean()
        assert share > 0 and (min(size) == 1 or 0.25 < share < 0.75)
        in_rows, in_columns = (np.unique(own, axis=axis).shape[axis] == 1 for axis in (0, 1))
        assert in_rows or in_columns, "the border runs straight through"
        cut.add((in_rows, in_columns))
    assert min(size) < 4 or cut == {(True, False), (False, True)}

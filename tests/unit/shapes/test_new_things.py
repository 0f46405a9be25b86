"""New things are drawn whole in their boxes, over no shape, the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from iaa_runtime.shapes.new_things import NEW_THINGS, draw_with
from iaa_runtime.shapes.other_things import THINGS


@pytest.mark.parametrize("name", NEW_THINGS)
def test_a_box_is_where_the_thing_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in THINGS, "the demo model knows that it is none of its shapes"
    for seed in range(20):
        picture, (x1, y1, x2, y2) = draw_with(name, seed)
        assert (x2 - x1) / (y2 - y1) == pytest.approx(NEW_THINGS[name].aspect)
        with monkeypatch.context() as patched:
            patched.setitem(NEW_THINGS, name, type(NEW_THINGS[name])(lambda *_: None, NEW_THINGS[name].aspect))
            bare, same = draw_with(name, seed)
        assert same == (x1, y1, x2, y2)
        rows, columns = np.nonzero((np.asarray(picture) != np.asarray(bare)).any(-1))
        extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(extent, (x1, y1, x2, y2))).max() <= 1.5, (name, seed)


@pytest.mark.parametrize("name", NEW_THINGS)
@pytest.mark.parametrize("aspect", [1 / 3, 1.0, 3.0])
def test_there_is_room_in_every_picture_that_the_node_takes(name: str, aspect: float) -> None:
    for seed in range(30):
        draw_with(name, seed, long_side=64, aspect=aspect)


def test_the_same_seed_gives_the_same_picture() -> None:
    first, again, other = (draw_with("heart", seed, long_side=200, aspect=1.0)[0] for seed in (1, 1, 2))
    assert first.size == (200, 200) and first.tobytes() == again.tobytes() != other.tobytes()

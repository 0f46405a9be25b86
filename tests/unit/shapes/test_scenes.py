"""Scenes of shapes: the same seed gives the same picture, and boxes are where the ink is."""

from __future__ import annotations

import numpy as np
import pytest

from iaa_runtime.boxes.geometry import unpad_box
from iaa_runtime.shapes.scenes import (
    ASPECT_LIMIT,
    BACKGROUNDS,
    COLORS,
    EVALUATION_SEED,
    KINDS,
    MAX_SHAPES,
    SIZES,
    Background,
    Scene,
    Shape,
    draw_scene,
    make_scene,
    outline,
)

SEEDS = range(EVALUATION_SEED, EVALUATION_SEED + 300)
PLAIN = Background("plain", (128, 128, 128), (128, 128, 128), 0.0, 0.1, 0)


def test_same_seed_same_scene_and_picture() -> None:
    assert make_scene(7) == make_scene(7)
    assert make_scene(7) != make_scene(8)
    assert draw_scene(make_scene(7)).tobytes() == draw_scene(make_scene(7)).tobytes()


def test_layout_is_the_same_at_any_resolution() -> None:
    coarse, fine = make_scene(11, long_side=200, aspect=1.0), make_scene(11, long_side=400, aspect=1.0)
    assert [s.kind for s in coarse.shapes] == [s.kind for s in fine.shapes]
    for index in range(len(coarse.shapes)):
        assert coarse.square_box(index) == pytest.approx(fine.square_box(index), abs=1e-6)


def test_every_size_kind_color_background_and_count_occurs() -> None:
    scenes = [make_scene(seed) for seed in SEEDS]
    shapes = [shape for scene in scenes for shape in scene.shapes]
    assert {s.kind for s in shapes} == set(KINDS)
    assert {s.color for s in shapes} == set(COLORS)
    assert {s.size for s in shapes} == set(SIZES)
    assert {scene.background.kind for scene in scenes} == set(BACKGROUNDS)
    assert {len(scene.shapes) for scene in scenes} == set(range(1, MAX_SHAPES + 1))
    aspects = [scene.width / scene.height for scene in scenes]
    assert min(aspects) < 0.4 and max(aspects) > 2.5
    assert all(1 / ASPECT_LIMIT * 0.98 <= a <= ASPECT_LIMIT * 1.02 for a in aspects)


def test_shapes_lie_inside_and_have_the_promised_size() -> None:
    for scene in map(make_scene, SEEDS):
        for shape in scene.shapes:
            x1, y1, x2, y2 = shape.box
            assert 0 <= x1 < x2 <= scene.width and 0 <= y1 < y2 <= scene.height
            low, high = SIZES[shape.size]
            assert low - 1e-9 <= max(x2 - x1, y2 - y1) / scene.long_side <= high + 1e-9


def test_square_box_is_undone_by_unpad_box() -> None:
    for scene in map(make_scene, SEEDS):
        for index, shape in enumerate(scene.shapes):
            assert unpad_box(scene.square_box(index), (scene.width, scene.height)) == pytest.approx(shape.box, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rotation", [0.0, 0.4, 2.5])
def test_box_is_where_the_ink_is(kind: str, rotation: float) -> None:
    size = outline(kind, rotation).max(axis=0) * 80  # type: ignore[arg-type]
    box = (20.3, 30.6, 20.3 + float(size[0]), 30.6 + float(size[1]))
    shape = Shape(kind, "red", "large", box, rotation, COLORS["red"])  # type: ignore[arg-type]
    picture = np.asarray(draw_scene(Scene(0, 160, 140, PLAIN, (shape,))), dtype=int)
    ink = np.abs(picture - 128).max(-1) > 8
    rows, columns = np.where(ink.any(1))[0], np.where(ink.any(0))[0]
    drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    # A sharp corner fades out within a pixel and a half.
    assert drawn == pytest.approx(box, abs=1.5)


def test_ring_has_a_hole_and_circle_has_none() -> None:
    for kind, filled in (("ring", False), ("circle", True)):
        shape = Shape(kind, "red", "large", (30.0, 30.0, 110.0, 110.0), 0.0, COLORS["red"])  # type: ignore[arg-type]
        picture = draw_scene(Scene(0, 140, 140, PLAIN, (shape,)))
        assert (picture.getpixel((70, 70)) == COLORS["red"]) is filled


def test_shapes_stand_off_from_the_background() -> None:
    for scene in map(make_scene, SEEDS):
        for shape in scene.shapes:
            for ground in (scene.background.first, scene.background.second):
                assert np.linalg.norm(np.subtract(shape.rgb, ground)) > 60

"""Captions in the styles that the demo model is taught."""

from __future__ import annotations

from typing import Any

import pytest

from iaa_runtime.shapes.captions import SENTENCES, styled_caption
from iaa_runtime.shapes.evaluate import caption_objects
from iaa_runtime.shapes.language import caption, left_to_right
from iaa_runtime.shapes.scenes import Background, Scene, Shape, make_scene
from iaa_runtime.text.styles import EXTRAS, LENGTHS

PLAIN = Background("plain", (128, 128, 128), (128, 128, 128), 0.0, 0.1, 0)


def scene(*shapes: tuple[str, str, str]) -> Scene:
    """A scene of shapes side by side."""
    made = (
        Shape(kind, color, size, (40 * i, 10, 40 * i + 20, 30), 0.0, (0, 0, 0))  # type: ignore[arg-type]
        for i, (size, color, kind) in enumerate(shapes)
    )
    return Scene(0, 200, 100, PLAIN, tuple(made))


THREE = scene(("small", "red", "star"), ("large", "orange", "circle"), ("small", "blue", "ring"))
ONE = scene(("small", "orange", "ring"))


@pytest.mark.parametrize(
    ("style", "three", "one"),
    [
        (
            {},
            "Three shapes, from left to right: a small red star, a large orange circle and a small blue ring.",
            "One shape: a small orange ring.",
        ),
        (
            {"extras": ["essentials"]},
            "Three shapes, from left to right: a red star, an orange circle and a blue ring.",
            "One shape: an orange ring.",
        ),
        (
            {"extras": ["no opening"]},
            "A small red star, a large orange circle and a small blue ring.",
            "A small orange ring.",
        ),
        (
            {"extras": ["no opening", "composition"]},
            "A small red star, a large orange circle and a small blue ring, from left to right.",
            "A small orange ring.",
        ),
        ({"length": "very short"}, "red star, orange circle, blue ring", "orange ring"),
        ({"length": "short"}, "A red star, an orange circle and a blue ring.", "An orange ring."),
        (
            {"length": "medium"},
            "There are three shapes. "
            "From left to right: a small red star, a large orange circle and a small blue ring.",
            "There is one shape. It is a small orange ring.",
        ),
        (
            {"length": "long"},
            "There are three shapes. The first from the left is a small red star. The next is a large orange circle. "
            "The last is a small blue ring.",
            "There is one shape. It is a small orange ring.",
        ),
        (
            {"length": "medium", "extras": ["no opening"]},
            "A small red star is leftmost. Then come a large orange circle and a small blue ring.",
            "A small orange ring. Nothing else.",
        ),
        (
            {"length": "long", "kind": "alt"},
            "A red star is the first from the left. An orange circle is the next. A blue ring is the last.",
            "An orange ring. Nothing else.",
        ),
        (
            {"kind": "training"},
            "A small red star, a large orange circle and a small blue ring.",
            "A small orange ring.",
        ),
        ({"kind": "alt"}, "A red star, an orange circle and a blue ring.", "An orange ring."),
        (
            {"kind": "image prompt"},
            "small red star, large orange circle, small blue ring",
            "small orange ring",
        ),
        (
            {"forbid": ["star", "person"]},
            "Three shapes, from left to right: a small red shape, a large orange circle and a small blue ring.",
            "One shape: a small orange ring.",
        ),
    ],
    ids=str,
)
def test_forms(style: dict[str, Any], three: str, one: str) -> None:
    assert styled_caption(THREE, **style) == three
    assert styled_caption(ONE, **style) == one


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", [*SENTENCES, "image prompt"])
def test_every_style_names_everything_from_left_to_right(kind: str, seed: int) -> None:
    drawn = make_scene(seed)
    expected = [(drawn.shapes[i].color, drawn.shapes[i].kind) for i in left_to_right(drawn, range(len(drawn.shapes)))]
    for length in LENGTHS:
        for extras in ([], *([name] for name in EXTRAS)):
            assert caption_objects(styled_caption(drawn, kind, length, extras)) == expected
    assert styled_caption(drawn) == styled_caption(drawn, extras=["lighting"]) == caption(drawn)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_asked_is_heeded(seed: int) -> None:
    """Whatever is combined: the number of sentences, and the subject in front."""
    drawn = make_scene(seed)
    for kind in SENTENCES:
        for length, sentences in (("short", (1, 1)), ("medium", (2, 3)), ("long", (2, 6)), ("very long", (2, 6))):
            for extra in EXTRAS:
                text = styled_caption(drawn, kind, length, [extra, "no opening"])
                assert text.startswith(("A ", "An ")) and sentences[0] <= text.count(".") <= sentences[1]
                assert sentences[0] <= styled_caption(drawn, kind, length, [extra]).count(".") <= sentences[1]

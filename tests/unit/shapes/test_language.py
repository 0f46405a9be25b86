"""What is said about scenes is true, unambiguous, and readable by the runtime."""

from __future__ import annotations

import random
import re

import pytest

from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.shapes.language import (
    MARGIN,
    Noun,
    absent_expression,
    caption,
    expression,
    format_box,
    grounding_answer,
    left_to_right,
    relation_holds,
)
from iaa_runtime.shapes.other_things import HELD_OUT, THINGS, other_expression
from iaa_runtime.shapes.questions import WEIGHTS, visual_question, visual_questions
from iaa_runtime.shapes.scenes import KINDS, SIZES, Background, Scene, Shape, make_scene
from iaa_runtime.shapes.text_questions import text_question

PLAIN = Background("plain", (128, 128, 128), (128, 128, 128), 0.0, 0.1, 0)


def shape(kind: str, color: str, size: str, x: float, y: float) -> Shape:
    return Shape(kind, color, size, (x, y, x + 20, y + 20), 0.0, (0, 0, 0))  # type: ignore[arg-type]


SCENE = Scene(
    0,
    200,
    100,
    PLAIN,
    (
        shape("star", "red", "small", 150, 10),
        shape("circle", "red", "small", 10, 10),
        shape("circle", "red", "large", 90, 60),
        shape("ring", "blue", "large", 50, 12),
    ),
)


def truth(phrase: str, scene: Scene) -> set[int]:
    """Reads a phrase back, written apart from the code that makes them."""
    head, anchor = phrase, ""
    relation = re.search(r" (left of|right of|above|below) the ", phrase)
    if relation:
        head, anchor = phrase.split(relation.group(0))
    words = head.removeprefix("all ").removeprefix("the ").split()
    extreme = words[0] if words[0].endswith("most") else ""
    kept = {i for i, s in enumerate(scene.shapes) if fits(words[bool(extreme) :], s)}
    if anchor:
        (at,) = (i for i, s in enumerate(scene.shapes) if fits(anchor.split(), s))
        x, y = scene.shapes[at].center
        test = {
            "left of": lambda s: s.center[0] < x,
            "right of": lambda s: s.center[0] > x,
            "above": lambda s: s.center[1] < y,
            "below": lambda s: s.center[1] > y,
        }[relation.group(1)]  # type: ignore[union-attr]
        kept = {i for i in kept if i != at and test(scene.shapes[i])}
    if extreme:
        axis, sign = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "bottommost": (1, -1)}[extreme]
        kept = {min(kept, key=lambda i: sign * scene.shapes[i].center[axis])}
    return kept


def fits(words: list[str], s: Shape) -> bool:
    plain = [{"crosses": "cross"}.get(word, word.removesuffix("s") if word != "cross" else word) for word in words]
    return all(word in (s.size, s.color, s.kind, "shape") for word in plain)


def test_caption_lists_everything_from_left_to_right() -> None:
    named = "a small red circle, a large blue ring, a large red circle and a small red star"
    assert caption(SCENE) == f"Four shapes, from left to right: {named}."
    assert caption(Scene(0, 9, 9, PLAIN, SCENE.shapes[:1])) == "One shape: a small red star."


def test_expressions_mean_what_they_say() -> None:
    seen = set()
    for seed in range(400):
        scene, rng = make_scene(seed), random.Random(seed)
        for _ in range(5):
            made = expression(scene, rng)
            assert truth(made.phrase, scene) == set(made.targets), (seed, made)
            assert made.targets == left_to_right(scene, made.targets)
            if made.kind in ("plain", "extreme", "relation"):
                assert len(made.targets) == 1
            if made.kind == "plural":
                assert len(made.targets) > 1
            seen.add(made.kind)
    assert seen == {"plain", "bare", "plural", "extreme", "relation"}


def test_absent_expressions_fit_nothing() -> None:
    for seed in range(300):
        scene = make_scene(seed)
        made = absent_expression(scene, random.Random(seed))
        assert not made.targets and not truth(made.phrase, scene)


def test_other_things_are_no_shapes_and_the_held_out_ones_are_kept_apart() -> None:
    shapes = {*KINDS, *SIZES, "shape"}
    assert not any(shapes & set(thing.split()) for thing in THINGS) and len(set(THINGS)) == len(THINGS)
    heard = {held_out: set[str]() for held_out in (False, True)}
    for held_out, things in heard.items():
        for seed in range(3000):
            made = other_expression(make_scene(seed % 50), random.Random(seed), held_out)
            assert made.targets == () and made.kind == "other"
            things |= {thing for thing in THINGS if re.search(rf"\b{thing}\b", made.phrase)}
    assert set(HELD_OUT) <= heard[True] and not set(HELD_OUT) & heard[False]


def test_no_relation_within_the_margin() -> None:
    close = MARGIN * SCENE.long_side - 1
    scene = Scene(
        0, 200, 100, PLAIN, (shape("star", "red", "small", 50, 0), shape("ring", "blue", "small", 50 + close, 60))
    )
    assert relation_holds("left of", scene, 0, 1) is None
    assert relation_holds("above", scene, 0, 1) is True
    assert relation_holds("below", scene, 0, 1) is False


def test_boxes_are_written_as_the_runtime_reads_them() -> None:
    scene = make_scene(5)
    text = grounding_answer(scene, range(len(scene.shapes)))
    read = parse_boxes(text)
    true = [scene.square_box(i) for i in left_to_right(scene, range(len(scene.shapes)))]
    assert len(read) == len(true)
    for a, b in zip(read, true, strict=True):
        assert a == pytest.approx(b, abs=6e-4)
    assert format_box((-0.1, 0.0, 1.0, 0.4567)) == "[0.000,0.000,0.999,0.457]"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What color is the ring?", "blue"),
        ("What is the blue shape?", "ring"),
        ("Is the star small or large?", "small"),
        ("How many circles are there?", "2"),
        ("How many shapes are there?", "4"),
        ("Which shape is rightmost?", "red star"),
    ],
)
def test_visual_questions_have_the_right_answers(question: str, answer: str) -> None:
    rng = random.Random(0)
    made = {q.question: q.answer for q in (visual_question(SCENE, rng) for _ in range(2000))}
    assert made[question] == answer


def test_visual_answers_agree_with_a_second_reading() -> None:
    for seed in range(300):
        scene = make_scene(seed)
        made = visual_question(scene, random.Random(seed))
        if made.kind == "exists":
            phrase = made.question.removeprefix("Is there ").removesuffix("?").split(" ", 1)[1]
            assert (made.answer == "yes") == bool(truth(phrase, scene))
        if made.kind == "count":
            phrase = made.question.removeprefix("How many ").removesuffix(" are there?")
            assert int(made.answer) == len(truth(phrase, scene))
        if made.kind == "relation":
            phrase = made.question.removeprefix("Is ").removesuffix("?")
            assert (made.answer == "yes") == bool(truth(phrase, scene))


def test_sides_agree_with_a_second_reading() -> None:
    said = set()
    for seed in range(300):
        scene = make_scene(seed)
        if len(scene.shapes) > 1:
            made = visual_question(scene, random.Random(seed), WEIGHTS | {"side": 99})
            if made.kind == "side":
                said.add(made.answer)
                named, asked = made.question.removeprefix("Is ").removesuffix("?"), "left or right of"
                if asked in named:
                    phrase = named.replace(asked, f"{made.answer} of")
                else:
                    phrase = named.replace("above or below", made.answer)
                assert truth(phrase, scene)
    assert said == {"left", "right", "above", "below"}


def test_a_scene_of_one_shape_has_no_sides() -> None:
    alone = next(scene for scene in map(make_scene, range(100)) if len(scene.shapes) == 1)
    with pytest.raises(ValueError, match="nothing of side can be asked"):
        visual_question(alone, random.Random(0), {"side": 1})


def test_questions_of_one_scene_differ() -> None:
    made = visual_questions(SCENE, random.Random(3), 12)
    assert len({q.question for q in made}) == len(made) == 12


def test_text_questions_are_right() -> None:
    seen = set()
    for seed in range(1500):
        made = text_question(random.Random(seed))
        seen.add(made.kind)
        sum_ = re.fullmatch(r"What is (\d+) (plus|minus|times) (\d+)\?", made.question)
        if sum_:
            a, b = int(sum_.group(1)), int(sum_.group(3))
            assert int(made.answer) == {"plus": a + b, "minus": a - b, "times": a * b}[sum_.group(2)]
        if made.kind == "listed":
            asked = re.search(r"How many (\w+) are there", made.question).group(1)  # type: ignore[union-attr]
            listed = re.findall(r"\w+", made.question.split(".")[0])
            kinds = KINDS if asked == "shapes" else [kind for kind in KINDS if asked.startswith(kind)]
            assert int(made.answer) == sum(listed.count(kind) for kind in kinds)
    assert len(seen) == 8


def test_nouns_read_well() -> None:
    assert Noun("small", "orange", "cross").plural == "small orange crosses"
    assert Noun(None, "orange", None).article == "an orange shape"

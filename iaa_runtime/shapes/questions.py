"""Questions on a scene with one-word answers, for visual question answering."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from .language import (
    EXTREMES,
    RELATIONS,
    Noun,
    Question,
    absent_expression,
    describe,
    extreme_of,
    random_noun,
    related,
    relation_holds,
)
from .scenes import Scene


def _color(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    noun = Noun(shape.size if rng.random() < 0.5 else None, None, shape.kind)
    found = noun.find(scene)
    return Question(f"What color is the {noun}?", shape.color, "color", tuple(found)) if len(found) == 1 else None


def _kind(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    noun = Noun(shape.size if rng.random() < 0.5 else None, shape.color, None)
    found = noun.find(scene)
    return Question(f"What is the {noun}?", shape.kind, "kind", tuple(found)) if len(found) == 1 else None


def _size(scene: Scene, rng: random.Random) -> Question | None:
    shape = rng.choice(scene.shapes)
    noun = rng.choice(
        (Noun(None, shape.color, shape.kind), Noun(None, None, shape.kind), Noun(None, shape.color, None))
    )
    found = noun.find(scene)
    if shape.size is None or len(found) != 1:
        return None
    return Question(f"Is the {noun} small or large?", shape.size, "size", tuple(found))


def _count(scene: Scene, rng: random.Random) -> Question | None:
    noun = Noun()
    if rng.random() < 0.75:
        shape = rng.choice(scene.shapes)
        noun = rng.choice((Noun(None, None, shape.kind), Noun(None, shape.color, None), Noun(shape.size, None, None)))
        if rng.random() < 0.2:
            noun = rng.choice((Noun(None, None, random_noun(rng).kind), Noun(None, random_noun(rng).color, None)))
    found = noun.find(scene)
    return Question(f"How many {noun.plural} are there?", str(len(found)), "count", counted=tuple(found))


def _exists(scene: Scene, rng: random.Random) -> Question | None:
    if rng.random() < 0.5:
        missing = absent_expression(scene, rng).phrase.removeprefix("the ")
        article = "an" if missing[0] in "aeiou" else "a"
        return Question(f"Is there {article} {missing}?", "no", "exists", counted=())
    noun = describe(rng.choice(scene.shapes), rng)
    return Question(f"Is there {noun.article}?", "yes", "exists", counted=tuple(noun.find(scene)))


def _pair(scene: Scene, rng: random.Random) -> tuple[int, Noun, int, Noun] | None:
    """Two shapes and nouns that mean only them."""
    if len(scene.shapes) < 2:
        return None
    first, second = rng.sample(range(len(scene.shapes)), 2)
    subject, anchor = (describe(scene.shapes[i], rng) for i in (first, second))
    return (first, subject, second, anchor) if len(subject.find(scene)) == len(anchor.find(scene)) == 1 else None


def _relation(scene: Scene, rng: random.Random) -> Question | None:
    if (pair := _pair(scene, rng)) is None:
        return None
    first, subject, second, anchor = pair
    relation = rng.choice(RELATIONS)
    holds = relation_holds(relation, scene, first, second)
    if holds is None:
        return None
    answer = "yes" if holds else "no"
    return Question(f"Is the {subject} {relation} the {anchor}?", answer, "relation", (first,), landmark=second)


def _side(scene: Scene, rng: random.Random) -> Question | None:
    """On which side of another a shape stands."""
    if (pair := _pair(scene, rng)) is None:
        return None
    first, subject, second, anchor = pair
    one, other = rng.choice((("left", "right"), ("above", "below")))
    holds = relation_holds("left of" if one == "left" else one, scene, first, second)
    if holds is None:
        return None
    sides = f"{one} or {other}" + (" of" if one == "left" else "")
    answer = one if holds else other
    return Question(f"Is the {subject} {sides} the {anchor}?", answer, "side", (first,), landmark=second)


def _which(scene: Scene, rng: random.Random) -> Question | None:
    """A shape by its place, answered with color and kind."""
    if len(scene.shapes) < 2:
        return None
    anchor = None
    if rng.random() < 0.6:
        extreme = rng.choice(EXTREMES)
        target = extreme_of(extreme, range(len(scene.shapes)), scene)
        question = f"Which shape is {extreme}?"
    else:
        anchor, relation = rng.randrange(len(scene.shapes)), rng.choice(RELATIONS)
        noun = describe(scene.shapes[anchor], rng)
        found = related(Noun(), relation, anchor, scene)
        target = found[0] if found and len(found) == 1 and len(noun.find(scene)) == 1 else None
        question = f"Which shape is {relation} the {noun}?"
    if target is None:
        return None
    shape = scene.shapes[target]
    return Question(question, str(Noun(None, shape.color, shape.kind)), "which", (target,), landmark=anchor)


_MAKERS: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "color": _color,
    "kind": _kind,
    "size": _size,
    "count": _count,
    "exists": _exists,
    "relation": _relation,
    "side": _side,
    "which": _which,
}
WEIGHTS = {"color": 17, "kind": 17, "size": 10, "count": 18, "exists": 14, "relation": 12, "which": 12}
"""How often each kind is asked; "side" is only taught."""
ATTEMPTS = 1000
"""Draws until a scene is given up; some kinds suit few scenes."""


def visual_question(scene: Scene, rng: random.Random, weights: Mapping[str, int] = WEIGHTS) -> Question:
    """A random question on the scene that has exactly one right answer.

    Args:
        scene: what is asked about.
        rng: chooses.
        weights: how often each kind of question is asked, in any unit.

    Raises:
        ValueError: none of these kinds can be asked about the scene.
    """
    kinds, shares = list(weights), list(weights.values())
    for _ in range(ATTEMPTS):
        made = _MAKERS[rng.choices(kinds, shares)[0]](scene, rng)
        if made is not None:
            return made
    raise ValueError(f"Of scene {scene.seed} nothing of {', '.join(kinds)} can be asked. Allow 'count': it always can.")


def visual_questions(scene: Scene, rng: random.Random, count: int) -> Sequence[Question]:
    """Up to ``count`` questions on the scene, all different."""
    chosen: dict[str, Question] = {}
    for _ in range(4 * count):
        made = visual_question(scene, rng)
        chosen.setdefault(made.question, made)
        if len(chosen) == count:
            break
    return tuple(chosen.values())

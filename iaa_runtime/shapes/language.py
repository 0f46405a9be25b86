"""What can be said about a scene: captions, referring expressions, questions with their answers.

An expression that promises one shape ("the red circle") is only made where exactly one fits. Positions and relations
are those of box centers, and are only used where they hold by a clear margin, so no answer hangs on a pixel.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..boxes.answers import format_box as format_box
from .scenes import COLORS, KINDS, Scene, Shape, Size

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RELATIONS = ("left of", "right of", "above", "below")
EXTREMES = ("leftmost", "rightmost", "topmost", "bottommost")
MARGIN = 0.06
"""How far apart two centers must be along an axis, in long sides, for "left of", "leftmost" and their like."""

ExpressionKind = Literal["plain", "bare", "extreme", "relation", "plural", "other"]


@dataclass(frozen=True)
class Noun:
    """A description by attributes: ``small red circle``; None leaves an attribute open, an open kind is a ``shape``."""

    size: Size | None = None
    color: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        return " ".join(word for word in (self.size, self.color, self.kind or "shape") if word)

    @property
    def plural(self) -> str:
        """The same for several."""
        return f"{self}es" if self.kind == "cross" else f"{self}s"

    @property
    def article(self) -> str:
        """``an orange ring``."""
        return f"{'an' if str(self)[0] in 'aeiou' else 'a'} {self}"

    def fits(self, shape: Shape) -> bool:
        """Whether the description is true of ``shape``."""
        return self.size in (None, shape.size) and self.color in (None, shape.color) and self.kind in (None, shape.kind)

    def find(self, scene: Scene) -> list[int]:
        """Indices of the shapes that it is true of."""
        return [i for i, shape in enumerate(scene.shapes) if self.fits(shape)]


@dataclass(frozen=True)
class Expression:
    """A phrase and the shapes it means: indices into ``scene.shapes``, by left edge. Empty means an absent object.

    A ``landmark`` is the shape that the phrase names to say where its target is.
    """

    phrase: str
    targets: tuple[int, ...]
    kind: ExpressionKind
    landmark: int | None = None


@dataclass(frozen=True)
class Question:
    """A question on a scene, or on none, and its one right answer.

    Attributes:
        about: The shapes that the answer speaks of, in that order; indices into ``scene.shapes``.
        counted: The shapes that an answer counts, or whose existence it states; None where it does neither.
        landmark: The shape beside which another is looked for.
    """

    question: str
    answer: str
    kind: str
    about: tuple[int, ...] = ()
    counted: tuple[int, ...] | None = None
    landmark: int | None = None


def left_to_right(scene: Scene, indices: Sequence[int]) -> tuple[int, ...]:
    """The order in which shapes are listed and boxes written: by left edge, then by top edge."""
    return tuple(sorted(indices, key=lambda i: scene.shapes[i].box[:2]))


def describe(shape: Shape, rng: random.Random) -> Noun:
    """A noun that is true of ``shape`` and says one, two or three things about it."""
    size, color, kind = rng.choices(
        ((0, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (1, 0, 0)), (30, 15, 15, 12, 8, 14, 6)
    )[0]
    return Noun(shape.size if size else None, shape.color if color else None, shape.kind if kind else None)


def random_noun(rng: random.Random) -> Noun:
    """A color and kind, sometimes with a size, of any shape at all."""
    size: Size | None = rng.choice(("small", "large")) if rng.random() < 0.2 else None
    return Noun(size, rng.choice(list(COLORS)), rng.choice(KINDS))


def relation_holds(relation: str, scene: Scene, subject: int, anchor: int) -> bool | None:
    """Whether ``subject`` stands so to ``anchor``; None where their centers are too close to tell."""
    axis = 0 if relation in ("left of", "right of") else 1
    gap = (scene.shapes[subject].center[axis] - scene.shapes[anchor].center[axis]) / scene.long_side
    if abs(gap) < MARGIN:
        return None
    return gap < 0 if relation in ("left of", "above") else gap > 0


def related(noun: Noun, relation: str, anchor: int, scene: Scene) -> list[int] | None:
    """Shapes that fit ``noun`` and stand so to ``anchor``; None where any of them is too close to call."""
    verdicts = {i: relation_holds(relation, scene, i, anchor) for i in noun.find(scene) if i != anchor}
    if None in verdicts.values():
        return None
    return [i for i, holds in verdicts.items() if holds]


def extreme_of(extreme: str, candidates: Sequence[int], scene: Scene) -> int | None:
    """The leftmost (…) of several shapes; None where a second is too close to it."""
    axis = 0 if extreme in ("leftmost", "rightmost") else 1
    sign = 1 if extreme in ("leftmost", "topmost") else -1
    ranked = sorted(candidates, key=lambda i: sign * scene.shapes[i].center[axis])
    first, second = (scene.shapes[i].center[axis] for i in ranked[:2])
    return ranked[0] if abs(first - second) >= MARGIN * scene.long_side else None


def _plain(scene: Scene, rng: random.Random) -> Expression | None:
    noun = describe(rng.choice(scene.shapes), rng)
    found = noun.find(scene)
    return Expression(f"the {noun}", tuple(found), "plain") if len(found) == 1 else None


def _bare(scene: Scene, rng: random.Random) -> Expression | None:
    noun = describe(rng.choice(scene.shapes), rng)
    return Expression(str(noun), left_to_right(scene, noun.find(scene)), "bare")


def _plural(scene: Scene, rng: random.Random) -> Expression | None:
    noun = describe(rng.choice(scene.shapes), rng)
    found = noun.find(scene)
    if len(found) < 2:
        return None
    return Expression(f"{rng.choice(('all the', 'the'))} {noun.plural}", left_to_right(scene, found), "plural")


def _extreme(scene: Scene, rng: random.Random) -> Expression | None:
    noun = describe(rng.choice(scene.shapes), rng) if rng.random() < 0.7 else Noun()
    found, extreme = noun.find(scene), rng.choice(EXTREMES)
    if len(found) < 2:
        return None
    target = extreme_of(extreme, found, scene)
    return None if target is None else Expression(f"the {extreme} {noun}", (target,), "extreme")


def _relation(scene: Scene, rng: random.Random) -> Expression | None:
    anchor = rng.randrange(len(scene.shapes))
    landmark = describe(scene.shapes[anchor], rng)
    noun = describe(rng.choice(scene.shapes), rng)
    relation = rng.choice(RELATIONS)
    if len(landmark.find(scene)) != 1 or (len(noun.find(scene)) == 1 and rng.random() < 0.6):
        return None
    found = related(noun, relation, anchor, scene)
    if found is None or len(found) != 1:
        return None
    return Expression(f"the {noun} {relation} the {landmark}", (found[0],), "relation", anchor)


_MAKERS = {"plain": _plain, "bare": _bare, "plural": _plural, "extreme": _extreme, "relation": _relation}


def expression(scene: Scene, rng: random.Random, kinds: Sequence[ExpressionKind] = ()) -> Expression:
    """A random referring expression that is unambiguous in the scene.

    Args:
        scene: What it refers to.
        rng: Source of the choice.
        kinds: Kinds to choose from; all by default. Where the scene has no place for any of them, a bare noun is used.
    """
    weights = {"plain": 34, "bare": 10, "plural": 18, "extreme": 18, "relation": 20}
    chosen = list(kinds or weights)
    for attempt in range(40):
        if attempt % 8 == 0:
            kind = rng.choices(chosen, [weights[k] for k in chosen])[0]
        made = _MAKERS[kind](scene, rng)
        if made is not None:
            return made
    fallback = _bare(scene, rng)
    assert fallback is not None
    return fallback


def absent_expression(scene: Scene, rng: random.Random) -> Expression:
    """A phrase for a shape that the scene lacks; mostly one whose color or kind is there, on another shape."""
    while True:
        noun = random_noun(rng)
        if rng.random() < 0.7:
            color, kind = rng.choice(scene.shapes).color, rng.choice(scene.shapes).kind
            noun = rng.choice((Noun(None, color, kind), Noun(None, color, noun.kind), Noun(None, noun.color, kind)))
        if not noun.find(scene):
            return Expression(f"the {noun}", (), "plain")


def grounding_answer(scene: Scene, targets: Sequence[int]) -> str:
    """Boxes of the targets as fractions of the padded square, by left edge, joined by ``; ``."""
    return "; ".join(format_box(scene.square_box(i)) for i in left_to_right(scene, targets))


def full_noun(shape: Shape) -> Noun:
    """Everything there is to say: ``small red circle``."""
    return Noun(shape.size, shape.color, shape.kind)


def listing(nouns: Sequence[str]) -> str:
    """``a, b and c``."""
    return nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"


def caption(scene: Scene) -> str:
    """``Three shapes, from left to right: a small red circle, a large blue star and a small green ring.``"""
    order = left_to_right(scene, range(len(scene.shapes)))
    nouns = [full_noun(scene.shapes[i]).article for i in order]
    if len(nouns) == 1:
        return f"One shape: {nouns[0]}."
    return f"{NUMBER_WORDS[len(nouns)].capitalize()} shapes, from left to right: {listing(nouns)}."


def tags(scene: Scene) -> tuple[str, tuple[int, ...]]:
    """``small red circle, large blue star``: what is there, each once, from left to right; and the first of each."""
    named: dict[str, int] = {}
    for i in left_to_right(scene, range(len(scene.shapes))):
        named.setdefault(str(full_noun(scene.shapes[i])), i)
    return ", ".join(named), tuple(named.values())

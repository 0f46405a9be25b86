"""Captions in forms made up at random, each asked for by an example of another scene.

Who teaches a form of captions (``iaa teach --task MM``) has some dozen of them. A model that has only ever said what
it sees in a few forms ties the two together: taught a new one, it follows it at once, and loses which shape comes next.
So MM also learns captions in forms of which each is used once; what it sees has to stay right in all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from iaa_runtime.shapes.language import NUMBER_WORDS, Question, full_noun, left_to_right
from iaa_runtime.shapes.scenes import Scene, Shape, make_scene
from iaa_runtime.text.prompts import form_question

FORMED = "formed"
_WORDS = (
    *("left", "right", "the", "this", "that", "there", "they", "and", "are", "all", "image", "objects", "places"),
    *("tag", "short", "sentence", "subjects", "mood", "curious", "polite", "down", "answers", "as", "by", "for"),
)
"""What a form may put between the things that it names; that it means nothing there is the point."""
_ITEMS = (
    ("color", "kind"),
    ("kind", "color"),
    ("size", "color", "kind"),
    ("kind", "size", "color"),
    ("color", "kind", "size"),
    ("color", "size", "kind"),
)
_SEPARATORS = (", ", "; ", " and ", ". ", " or ", " - ", " / ", ": ", "\n", " ")


@dataclass(frozen=True)
class FormedCaption(Question):
    """A question whose answer is such a caption.

    Attributes:
        starts: Where in the answer each shape of ``about`` begins to be spoken of.
    """

    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Form:
    """How a caption is written.

    Attributes:
        opening: What it begins with, where ``{N}`` stands for the number of shapes, and ``{s}`` for an ending of many.
        item: Which of ``size``, ``color`` and ``kind`` are said of a shape, in which order.
        joints: What stands between those words: one joint for every word but the last.
        before: Words before each shape; ``a`` agrees with what follows.
        between: What stands between shapes.
        last: What stands before the last of several.
        ending: What it ends with.
        capital: Whether each shape's words begin with a capital letter.
    """

    opening: str
    item: Sequence[str]
    joints: Sequence[str]
    before: str
    between: str
    last: str
    ending: str
    capital: bool

    def _named(self, shape: Shape) -> str:
        said = full_noun(shape)
        words = [str(value) for part in self.item if (value := getattr(said, part)) is not None]
        text = words[0] + "".join(joint + word for joint, word in zip(self.joints, words[1:], strict=False))
        before = "an " if self.before == "a " and text[0] in "aeiou" else self.before
        text = before + text
        return text[0].upper() + text[1:] if self.capital else text

    def caption(self, scene: Scene) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """What the form says of a scene, the shapes from left to right, and where each begins to be spoken of."""
        order = left_to_right(scene, range(len(scene.shapes)))
        many = "" if len(order) == 1 else "s"
        text = self.opening.replace("{N}", NUMBER_WORDS[len(order)]).replace("{s}", many)
        text = text[:1].upper() + text[1:]
        starts: list[int] = []
        for number, i in enumerate(order):
            starts.append(len(text.rstrip()))  # a space belongs to the token behind it
            if number:
                text += self.last if number == len(order) - 1 else self.between
            named = self._named(scene.shapes[i])
            text += named if text else named[0].upper() + named[1:]
        return text + self.ending, order, tuple(starts)


UNTAUGHT = Form("{N} shape{s}: ", ("color", "kind"), (" ", " "), "", ", ", ", ", ".", False)
"""What ``benchmarks/teaching.py`` teaches, and so what nobody may know before."""


def make_form(rng: random.Random) -> Form:
    """A form out of some millions, ``UNTAUGHT`` and what differs from it in its end alone left out."""
    while True:
        made = _draw_form(rng)
        if (made.opening, made.item, made.before) != (UNTAUGHT.opening, UNTAUGHT.item, UNTAUGHT.before):
            return made


def _draw_form(rng: random.Random) -> Form:
    words = " ".join(rng.choices(_WORDS, k=rng.randint(1, 3)))
    counted = rng.choice(("{N} shape{s}", "{N}", f"{words} {{N}}", f"{{N}} {words}", f"{{N}} shape{{s}} {words}"))
    opening = rng.choice((counted, counted, words, "")) or ""
    item = rng.choice(_ITEMS)
    joints = rng.choice(((" ", " "), (" ", " "), (", ", " "), (" ", ", "), (" in ", " "), (" is ", " ")))
    before = rng.choice(("", "", "", "a ", "a ", "the ", f"{rng.choice(_WORDS)} ", f"{rng.choice(_WORDS)} a "))
    between = rng.choice(_SEPARATORS)
    last = rng.choice((between, between, " and ", f" {rng.choice(_WORDS)} "))
    if between == ". ":
        last = between
    if opening:
        opening += rng.choice((": ", ": ", ", ", ". ", " ", " - "))
    ending = rng.choice((".", ".", "", "!", f" {rng.choice(_WORDS)}."))
    return Form(opening, item, joints, before, between, last, ending, between == ". " or rng.random() < 0.1)


def formed_turn(scene: Scene, rng: random.Random) -> FormedCaption:
    """A caption in a form, asked for by one of another scene."""
    form = make_form(rng)
    example, _, _ = form.caption(make_scene(rng.getrandbits(29)))
    answer, order, starts = form.caption(scene)
    return FormedCaption(form_question(example), answer, FORMED, order, counted=order, starts=starts)

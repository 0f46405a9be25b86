"""What the demo model is taught to answer to the styles of captions that a user can ask for.

Of lengths, extras and forbidden words, those that a scene of shapes has something to say to: the others change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..text.styles import ANY
from .language import NUMBER_WORDS, Noun, caption, left_to_right, listing
from .scenes import Scene

SENTENCES = ("caption", "detailed", "training", "alt")
"""Kinds of caption that are sentences; ``image prompt`` is phrases between commas."""
BRIEF = ("very short", "short")
LONG = ("long", "very long")


def styled_caption(
    scene: Scene, kind: str = "caption", length: str = ANY, extras: Sequence[str] = (), forbid: Sequence[str] = ()
) -> str:
    """The caption of a scene in a style, as :func:`..text.styles.caption_prompt` asks for it.

    Args:
        scene: what is described.
        kind: one of ``SENTENCES``, or ``"image prompt"``.
        length: one of ``LENGTHS``.
        extras: names of ``EXTRAS``.
        forbid: words; a shape whose kind is among them is called a shape.
    """
    brief = kind == "alt" or length in BRIEF or "essentials" in extras
    shapes = [scene.shapes[i] for i in left_to_right(scene, range(len(scene.shapes)))]
    nouns = [Noun(None if brief else s.size, s.color, None if s.kind in forbid else s.kind) for s in shapes]
    if kind == "image prompt" or length == "very short":
        return ", ".join(map(str, nouns))
    named = [noun.article for noun in nouns]
    opening = "no opening" not in extras and kind not in ("training", "alt")
    if length in LONG:
        return " ".join(_introduced(named, _placed(named)) if opening else _placed(named, subject_first=True))
    if length == "medium":
        return " ".join(_introduced(named, [_listed(named)]) if opening else _two_sentences(named))
    if opening and length != "short":
        return f"{caption(scene).partition(': ')[0]}: {listing(named)}."
    order = ", from left to right" if "composition" in extras and len(named) > 1 else ""
    return f"{_capital(listing(named))}{order}."


def _introduced(named: Sequence[str], sentences: Sequence[str]) -> list[str]:
    """``There are three shapes.``, and what follows."""
    shapes = str(Noun()) if len(named) == 1 else Noun().plural
    return [f"There {'is' if len(named) == 1 else 'are'} {NUMBER_WORDS[len(named)]} {shapes}.", *sentences]


def _listed(named: Sequence[str]) -> str:
    return f"It is {named[0]}." if len(named) == 1 else f"From left to right: {listing(named)}."


def _two_sentences(named: Sequence[str]) -> list[str]:
    """``A small red star is leftmost. Then come …``."""
    if len(named) == 1:
        return _placed(named, subject_first=True)
    return [f"{_capital(named[0])} is leftmost.", f"Then {'come' if len(named) > 2 else 'comes'} {listing(named[1:])}."]


def _placed(named: Sequence[str], *, subject_first: bool = False) -> list[str]:
    """A sentence a shape, from left to right: ``The next is a large blue star.``, or the other way round."""
    if len(named) == 1:
        return [f"{_capital(named[0])}.", "Nothing else."] if subject_first else [_listed(named)]
    places = ["the first from the left", *["the next"] * (len(named) - 2), "the last"]
    pairs = ((name, place) if subject_first else (place, name) for name, place in zip(named, places, strict=True))
    return [f"{_capital(subject)} is {rest}." for subject, rest in pairs]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

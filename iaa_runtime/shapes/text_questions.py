"""Questions about the same little world without a picture: what the frozen base model knows by itself."""

from __future__ import annotations

import random
from collections.abc import Callable

from .language import NUMBER_WORDS, RELATIONS, Noun, Question, listing
from .scenes import COLORS, KINDS

_OPPOSITES = {
    "left": "right",
    "above": "below",
    "small": "large",
    "black": "white",
    "top": "bottom",
    "first": "last",
    "yes": "no",
    "inside": "outside",
    "leftmost": "rightmost",
    "topmost": "bottommost",
}
_MIXTURES = {
    ("red", "yellow"): "orange",
    ("blue", "yellow"): "green",
    ("red", "blue"): "purple",
    ("red", "white"): "pink",
    ("green", "blue"): "cyan",
    ("red", "green"): "brown",
}
_SIDES = {"triangle": 3, "square": 4, "cross": 12, "star": 10}
_CORNERS = {"triangle": 3, "square": 4, "circle": 0, "ring": 0}
_FACTS = {
    "Which shape has three sides?": "triangle",
    "Which shape has four equal sides?": "square",
    "Which shape is round and filled?": "circle",
    "Which shape is round with a hole?": "ring",
    "Which shape has five points?": "star",
    "Which shape looks like a plus sign?": "cross",
    "What color is the sky on a clear day?": "blue",
    "What color is grass?": "green",
    "What color is a banana?": "yellow",
    "What color is snow?": "white",
    "What color is coal?": "black",
    "What color is a ripe tomato?": "red",
    "What color is chocolate?": "brown",
    "How many points does a star have?": "5",
    "How many arms does a cross have?": "4",
    "Is a square round?": "no",
    "Is a circle round?": "yes",
    "Does a ring have a hole?": "yes",
    "Does a triangle have a hole?": "no",
}


def _arithmetic(rng: random.Random) -> Question:
    word = rng.choice(("plus", "minus", "times"))
    limit = 10 if word == "times" else 20
    a, b = rng.randint(0, limit), rng.randint(0, limit)
    if word == "minus":
        a, b = max(a, b), min(a, b)
    answer = {"plus": a + b, "minus": a - b, "times": a * b}[word]
    return Question(f"What is {a} {word} {b}?", str(answer), "arithmetic")


def _opposite(rng: random.Random) -> Question:
    pair = rng.choice(list(_OPPOSITES.items()))
    word, answer = pair if rng.random() < 0.5 else pair[::-1]
    return Question(f"What is the opposite of {word}?", answer, "opposite")


def _mixture(rng: random.Random) -> Question:
    (a, b), answer = rng.choice(list(_MIXTURES.items()))
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    return Question(f"What color do you get by mixing {a} and {b}?", answer, "mixture")


def _fact(rng: random.Random) -> Question:
    which = rng.random()
    if which < 0.2:
        kind, sides = rng.choice(list(_SIDES.items()))
        return Question(f"How many sides does a {kind} have?", str(sides), "fact")
    if which < 0.4:
        kind, corners = rng.choice(list(_CORNERS.items()))
        return Question(f"How many corners does a {kind} have?", str(corners), "fact")
    question, answer = rng.choice(list(_FACTS.items()))
    return Question(question, answer, "fact")


def _number_word(rng: random.Random) -> Question:
    number = rng.randrange(len(NUMBER_WORDS))
    if rng.random() < 0.5:
        return Question(f"Write the number {NUMBER_WORDS[number]} in digits.", str(number), "number")
    return Question(f"Write the number {number} as a word.", NUMBER_WORDS[number], "number")


def _comparison(rng: random.Random) -> Question:
    a, b = rng.sample(range(21), 2)
    word = rng.choice(("larger", "smaller"))
    return Question(
        f"Which number is {word}, {a} or {b}?", str(max(a, b) if word == "larger" else min(a, b)), "compare"
    )


def _nouns(rng: random.Random, count: int) -> list[Noun]:
    """Different colors, and kinds that often repeat."""
    kinds = rng.sample(KINDS, rng.randint(min(2, count), min(3, len(KINDS))))
    return [Noun(None, color, rng.choice(kinds)) for color in rng.sample(list(COLORS), count)]


def _listed(rng: random.Random) -> Question:
    """Counting what a sentence lists."""
    nouns = _nouns(rng, rng.randint(1, 5))
    text = f"There is {listing([noun.article for noun in nouns])}."
    if rng.random() < 0.4:
        return Question(f"{text} How many shapes are there?", str(len(nouns)), "listed")
    kind = rng.choice([noun.kind for noun in nouns])
    same = Noun(None, None, kind)
    return Question(f"{text} How many {same.plural} are there?", str(sum(n.kind == kind for n in nouns)), "listed")


def _reverse(rng: random.Random) -> Question:
    """Turning a relation around."""
    a, b = rng.sample(KINDS, 2)
    relation = rng.choice(RELATIONS)
    back = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[relation]
    return Question(f"The {a} is {relation} the {b}. Where is the {b}?", f"{back} the {a}", "reverse")


_MAKERS: tuple[Callable[[random.Random], Question], ...] = (
    _arithmetic,
    _opposite,
    _mixture,
    _fact,
    _number_word,
    _comparison,
    _listed,
    _reverse,
)
_WEIGHTS = (24, 10, 7, 12, 6, 12, 18, 11)


def text_question(rng: random.Random) -> Question:
    """A random question that needs no picture, and its one right answer."""
    return rng.choices(_MAKERS, _WEIGHTS)[0](rng)

"""Choosing among answers, by how likely each is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.pipeline.choices import MOST_CHOICES, YES_AND_NO, best_of, checked_choices, yes_of


def test_probabilities_are_the_softmax_of_the_means() -> None:
    choice = best_of(["red", "a dark green"], [math.log(0.2), math.log(0.6)])
    assert (choice.text, choice.index, choice.is_yes) == ("a dark green", 1, False)
    assert choice.probabilities == pytest.approx((0.25, 0.75))
    assert choice.probability == choice.probabilities[1]


@pytest.mark.parametrize(
    ("choices", "best", "yes"),
    [
        (["yes", "no"], 0, True),
        (["no", "Yes"], 1, True),
        (["no", "yes"], 0, False),
        (["FALSE", "TRUE"], 1, True),
        (["cat", "dog"], 0, True),
        (["cat", "dog"], 1, False),
    ],
)
def test_yes_is_yes_wherever_it_stands_and_else_the_first(choices: list[str], best: int, yes: bool) -> None:
    assert best_of(choices, [0.0 if number == best else -1.0 for number in range(2)]).is_yes is yes


def test_unlikely_choices_have_probabilities_too() -> None:
    assert best_of(["a", "b"], [-2000.0, -2000.0]).probabilities == (0.5, 0.5)
    assert best_of(["a", "b"], [-math.inf, -1.0]).probabilities == (0, 1)


def test_yes_counts_in_every_spelling() -> None:
    assert yes_of(YES_AND_NO, [math.log(p) for p in (0.3, 0.1, 0.2, 0.2)]) == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ("yes", "Give a list"),
        ([], "0 choices"),
        (["yes"], "1 choices"),
        ([1, 2], "A choice is a text, and 1 is none"),
        (None, "A choice is a text, and None is none"),
        (["yes", " "], "Choice 2 is empty"),
        (["yes", "no", "yes "], "'yes' is given twice"),
        ([str(n) for n in range(MOST_CHOICES + 1)], "Give 2 to"),
    ],
)
def test_what_is_no_choice_is_refused(choices: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_choices(choices)

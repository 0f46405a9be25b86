"""Answers that are one of given choices, each with a probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError, spelled
from ..text.texts import texts

MOST_CHOICES = 64
"""More is a search, not a choice."""
YES = ("yes", "true")
YES_AND_NO = ("yes", "no", "Yes", "No")
"""As models spell them."""


@dataclass(frozen=True)
class Choice:
    """The likeliest of some choices.

    The probability of choice ``c`` of ``n`` tokens is ``softmax`` over the choices of
    ``1/n · Σ log p(token | question, tokens before)``: the likelihood of its tokens, normalised by length. It says how
    the choices compare, not whether any of them is a good answer.

    Attributes:
        text: the choice, as it was given.
        index: which it is, from 0.
        probabilities: of every choice, in their order; 1 together.
        is_yes: whether it is "yes" or "true" where those are among the choices; else whether it is the first.

    Example:
        >>> best_of(["yes", "no"], [-0.1, -2.4])
        Choice(text='yes', index=0, probabilities=(0.908..., 0.091...), is_yes=True)
    """

    text: str
    index: int
    probabilities: tuple[float, ...]
    is_yes: bool

    @property
    def probability(self) -> float:
        """That of the chosen one."""
        return self.probabilities[self.index]


def checked_choices(choices: Sequence[str]) -> list[str]:
    """The choices without blanks around them.

    Raises:
        InputError: there are fewer than two or more than ``MOST_CHOICES``, or one is no text, empty or given twice.
    """
    if isinstance(choices, str):
        raise InputError(f"The choices are the text {spelled(choices)}. Give a list of them.")
    cleaned = [choice.strip() for choice in texts(choices, "A choice")]
    if not 2 <= len(cleaned) <= MOST_CHOICES:
        raise InputError(f"There are {len(cleaned)} choices. Give 2 to {MOST_CHOICES}.")
    if "" in cleaned:
        raise InputError(f"Choice {cleaned.index('') + 1} is empty. Leave it out, or write it.")
    twice = next((choice for number, choice in enumerate(cleaned) if choice in cleaned[:number]), None)
    if twice is not None:
        raise InputError(f"The choice {spelled(twice)} is given twice. Give each once.")
    return cleaned


def best_of(choices: Sequence[str], mean_logprobs: Sequence[float]) -> Choice:
    """The likeliest choice, by the mean log-probabilities of each one's tokens."""
    most = max(mean_logprobs)
    weights = [math.exp(logprob - most) for logprob in mean_logprobs]
    index = list(mean_logprobs).index(most)
    yes = [choice.casefold() in YES for choice in choices]
    is_yes = yes[index] if any(yes) else index == 0
    return Choice(choices[index], index, tuple(weight / sum(weights) for weight in weights), is_yes)


def yes_of(choices: Sequence[str], mean_logprobs: Sequence[float]) -> float:
    """The probability of "yes" in any spelling."""
    probabilities = best_of(choices, mean_logprobs).probabilities
    return sum(p for choice, p in zip(choices, probabilities, strict=True) if choice.casefold() in YES)

"""How something is taught: the defaults and limits of ``iaa teach``, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from .task import Task

LARGEST_RANK = 1024
"""Of an adaptor's updates."""
MOST_STEPS = 1_000_000
MOST_PICTURES = 256
"""Of one step."""
LARGEST_SHARE = 0.9
"""That may be held out."""


@dataclass(frozen=True)
class TeachSettings:
    """How something is taught.

    Attributes:
        task: G learns boxes, MM answers.
        rank: of the updates, 1 to ``LARGEST_RANK``; a larger one learns more and forgets more.
        steps: of the optimizer, 1 to ``MOST_STEPS``.
        hold_out: share of the pictures that are not learned from, 0 to ``LARGEST_SHARE``: they tell whether an
            earlier step was clearly better than the last, and are scored.
        seed: of everything that is drawn, a number of 63 bits.
        batch: pictures a step, 1 to ``MOST_PICTURES``.
        rate: peak learning rate, above 0 and at most 1.

    Raises:
        InputError: one of them is out of its range, or the task is Text.
    """

    task: Task = Task.G
    rank: int = 16
    steps: int = 2000
    hold_out: float = 0.2
    seed: int = 0
    batch: int = 8
    rate: float = 0.002

    def __post_init__(self) -> None:
        if not self.task.sees:
            raise InputError("The Text task is the frozen language model, which is never taught. Teach MM or G.")
        for name, least, most in (
            ("rank", 1, LARGEST_RANK),
            ("steps", 1, MOST_STEPS),
            ("batch", 1, MOST_PICTURES),
            ("hold_out", 0, LARGEST_SHARE),
            ("seed", 0, (1 << 63) - 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}. Give one from {least} to {most:,}.")
        if not 0 < self.rate <= 1:
            raise InputError(f"rate is {self.rate}. Give one above 0 and at most 1.")

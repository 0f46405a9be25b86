"""The answers of a batch as they grow, and which of its rows are still alive."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..errors import NumericsError

OnToken = Callable[[int, int], bool | None] | None
"""Called with (row, token id) for each new token; a True answer ends that row."""


@dataclass
class Answer:
    """What one row produced.

    Attributes:
        ids: the new tokens, the end token included if there was one.
        logprobs: of each token, under the model's own distribution (before grammar, penalty and temperature).
        finished: whether the row ended by itself, not for want of tokens.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False


class Rows:
    """A batch's rows. Positions count those still alive, from 0.

    Args:
        limits: tokens that each row may have.
        eos: ids that end an answer.
        on_token: progress and stopping.

    Attributes:
        answers: of every row.
        alive: the numbers of the rows that go on.
        limits: as given.
    """

    def __init__(self, limits: Sequence[int], eos: Sequence[int], on_token: OnToken = None) -> None:
        self.limits, self._eos, self._on_token = list(limits), set(eos), on_token
        self.answers = [Answer() for _ in limits]
        self.alive = list(range(len(limits)))

    def take(self, position: int, ids: Sequence[int], logprobs: Sequence[float]) -> bool:
        """Adds new tokens to the row at a position, up to its end; says whether it goes on."""
        row = self.alive[position]
        answer = self.answers[row]
        for token, logprob in zip(ids, logprobs, strict=True):
            answer.ids.append(token)
            answer.logprobs.append(logprob)
            stop = self._on_token(row, token) if self._on_token is not None else False
            answer.finished = bool(stop) or token in self._eos
            if answer.finished or len(answer.ids) >= self.limits[row]:
                return False
        return True

    def keep(self, positions: Sequence[int]) -> None:
        """Goes on with the rows at these positions."""
        self.alive = [self.alive[position] for position in positions]

    def left(self) -> list[int]:
        """Tokens that each row that is alive may still have."""
        return [self.limits[row] - len(self.answers[row].ids) for row in self.alive]


def check_numbers(logprobs: Sequence[float], dtype: torch.dtype) -> None:
    """Raises :class:`NumericsError` where a log-probability is NaN, which would pass for a token of full confidence."""
    if any(map(math.isnan, logprobs)):
        raise NumericsError(
            f"The model computed NaN in place of an answer. Either {dtype} is too narrow for these weights (try "
            "bfloat16 or float32), or the checkpoint's files are damaged."
        )

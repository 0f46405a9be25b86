"""What is asked of whoever answers, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from ..config import BATCH_ROWS, GenerationConfig, Task
from ..errors import Cancel, InputError
from ..images.picture import Picture
from ..text.conversation import Conversation
from .options import OnText, OnToken

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Question:
    """A conversation to continue.

    Attributes:
        conversation: ends with the user's message.
        picture: what it is about. Questions about one picture hold the same object, which is then encoded once.
    """

    conversation: Conversation
    picture: Picture | None = None

    @classmethod
    def about(cls, picture: Picture | None, text: str) -> Question:
        """A first question, about a picture or without one."""
        return cls(Conversation().user(text), picture)


@dataclass
class TextAnswer:
    """The answer to one question.

    Attributes:
        text: without blanks at either end.
        tokens: what each token says, of answers of G; control tokens say nothing.
        logprobs: of each of those tokens, under the model's own distribution.
    """

    text: str = ""
    tokens: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Listener:
    """Who hears of answers while they are written.

    Attributes:
        on_text: called with (row, new text).
        on_token: called with (row, token id); a server keeps its ids to itself, and 0 comes instead.
        cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
    """

    on_text: OnText = None
    on_token: OnToken = None
    cancelled: Cancel = None


@dataclass(frozen=True)
class Request:
    """How questions are answered.

    Attributes:
        task: who answers.
        config: how answers are decoded.
        listener: hears of them.
        grammar: hold answers to ``[x1,y1,x2,y2]; …``.
        several: let the grammar allow more than one box.
        batch_rows: rows answered at once; servers are asked as many at once as they are set to.
    """

    task: Task
    config: GenerationConfig
    listener: Listener = field(default_factory=Listener)
    grammar: bool = False
    several: bool = True
    batch_rows: int = BATCH_ROWS


def batches(items: Iterable[Item], batch_rows: int) -> Iterator[list[Item]]:
    """So many items at a time, none before it is needed; raises :class:`InputError` for less than one."""
    if batch_rows < 1:
        raise InputError(f"batch_rows is {batch_rows}; it must be at least 1.")
    rows = iter(items)
    while batch := list(islice(rows, batch_rows)):
        yield batch

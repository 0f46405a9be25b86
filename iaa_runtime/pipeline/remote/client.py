"""One question to a server as a request, and its answer as it grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config import GenerationConfig, Task
from ...images.picture import Picture
from ..base import OnText, OnToken, Question
from .messages import chat_messages, decoding_fields
from .workers import Body


def request_body(
    question: Question, task: Task, config: GenerationConfig, url_of: Callable[[Picture], str], held: str | None = None
) -> Body:
    """The request of a question: made when it is sent, since pictures are encoded then.

    Args:
        question: what is asked.
        task: who answers; of G, the tokens' probabilities are wanted.
        config: how the answer is decoded.
        url_of: makes a picture's data URL.
        held: a regular expression that the server holds the answer to.

    Raises:
        InputError: ``config`` wants what servers do not offer.
    """
    settings = decoding_fields(config)
    if task is Task.G:
        settings["logprobs"] = True
    if held is not None:
        settings["structured_outputs"] = {"regex": held}

    def make() -> dict[str, Any]:
        image = url_of(question.picture) if question.picture is not None else None
        return {"messages": chat_messages(question.conversation, image), **settings}

    return make


class Growth:
    """Makes new text and tokens of answers as they are so far.

    A request that broke in mid-answer is begun anew, mostly with the same words: nothing is said twice then. Where the
    words differ, what was shown stands there, and the new answer follows as a paragraph of its own.
    """

    def __init__(self, on_text: OnText, on_token: OnToken) -> None:
        self._on_text, self._on_token = on_text, on_token
        self._texts: dict[int, str] = {}
        self._tokens: dict[int, int] = {}

    def __call__(self, row: int, text: str, tokens: int) -> None:
        """Passes on what is new."""
        for _ in range(self._tokens.get(row, 0), tokens):
            self._tokens[row] = self._tokens.get(row, 0) + 1
            if self._on_token is not None:
                self._on_token(row, 0)
        answer, before = text.strip(), self._texts.get(row, "")
        if self._on_text is None or before.startswith(answer):
            return
        self._on_text(row, answer[len(before) :] if answer.startswith(before) else f"\n\n{answer}")
        self._texts[row] = answer

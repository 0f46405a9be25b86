"""One question to a server as a request, and its answer as it grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config import Task
from ...images.picture import Picture
from ..base import OnText, OnToken, Question, Request
from . import llama_cpp
from .formats import format_fields
from .messages import boxes_regex, chat_messages, decoding_fields
from .servers import Endpoint
from .workers import Body


def request_body(
    question: Question, request: Request, url_of: Callable[[Picture], str], endpoint: Endpoint, held: bool = False
) -> Body:
    """The request of a question: made when it is sent, since pictures are encoded then.

    Args:
        question: what is asked.
        request: how; of G, the tokens' probabilities are wanted.
        url_of: makes a picture's data URL.
        endpoint: who is asked.
        held: whether the server is to hold the answer to boxes.

    Raises:
        InputError: the request wants what servers do not offer.
    """
    settings = decoding_fields(request.config) | format_fields(request.config.format, endpoint)
    if request.task is Task.G:
        settings["logprobs"] = True
    if endpoint.llama_cpp:
        settings = llama_cpp.translated(settings)
        settings |= {"grammar": llama_cpp.boxes_grammar(request.several)} if held else {}
    elif held:
        settings["structured_outputs"] = {"regex": boxes_regex(request.several)}

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

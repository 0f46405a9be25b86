"""Questions to servers, and answers as the pipeline wants them: heard as they grow, checked, boxes held to be boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ...boxes.answers import parse_boxes
from ...config import GenerationConfig, Task
from ...errors import RemoteError
from ...generation.prefill import Cancel
from ...images.load import AnyImage, to_pil
from ...text.conversation import Conversation
from ..local import OnText, OnToken
from .messages import Completion, data_url, decoding, held_to_boxes, messages
from .retries import shown
from .servers import Served
from .workers import Body, Crew


@dataclass(frozen=True)
class Listener:
    """Who hears of answers while they are written.

    Attributes:
        on_text: called with (row, new text).
        on_token: called with (row, 0) for every token: its id stays with the server.
        cancelled: True raises :class:`iaa_runtime.errors.Cancelled` at once.
    """

    on_text: OnText = None
    on_token: OnToken = None
    cancelled: Cancel = None


class Asker:
    """Has questions answered by whoever serves their task.

    Args:
        tasks: who answers which.
        crew: sends the requests.
    """

    def __init__(self, tasks: Mapping[Task, Served], crew: Crew) -> None:
        self._tasks, self._crew = tasks, crew

    def say(
        self,
        conversation: Conversation,
        picture: Image.Image | None,
        task: Task,
        config: GenerationConfig,
        listener: Listener,
    ) -> Completion:
        """Continues a conversation.

        Raises:
            RemoteError: no server is known for the task, or it gives no answer; or one of G without probabilities.
        """
        (answer,) = self._complete(task, [_body(conversation, picture, task, config)], listener)
        return answer

    def ask(
        self,
        questions: Sequence[tuple[AnyImage, str]],
        task: Task,
        config: GenerationConfig,
        listener: Listener,
        *,
        grammar: bool = False,
        several: bool = True,
    ) -> list[Completion]:
        """Answers questions about pictures.

        With the grammar, what the model says by itself stands if it begins with a box. Otherwise it is asked again,
        the server holding it to boxes; such a box scores 0. (Servers give the probabilities behind a grammar, which
        are near 1 where there is little choice. Those of the model itself are wanted, as of answers made here.)

        Args:
            questions: (picture, question), a row each.
            task: MM or G.
            config: how answers are decoded.
            listener: hears of them.
            grammar: hold answers to boxes.
            several: let the grammar allow more than one box.

        Raises:
            RemoteError: as for :meth:`say`; or the server says what is no box although it was to be held to them.
        """
        answers = self._ask(questions, task, config, None, listener)
        if not grammar:
            return answers
        again = [row for row, answer in enumerate(answers) if not parse_boxes(answer.text)]
        silent = Listener(cancelled=listener.cancelled)
        held = self._ask([questions[row] for row in again], task, config, held_to_boxes(several), silent)
        for row, answer in zip(again, held, strict=True):
            if not parse_boxes(answer.text):
                served = self._tasks[task]
                raise RemoteError(
                    f"The answer {shown(answer.text)!r} of {served.model} at {served.url} is no box. Is the exported "
                    "task G served there? A server that cannot hold answers to a grammar can be asked without one."
                )
            answer.logprobs = [-math.inf] * len(answer.pieces)
            answers[row] = answer
        if not several:
            for answer in answers:
                answer.keep_first_box()
        return answers

    def _ask(
        self,
        questions: Sequence[tuple[AnyImage, str]],
        task: Task,
        config: GenerationConfig,
        held: str | None,
        listener: Listener,
    ) -> list[Completion]:
        bodies = (_body(Conversation().user(text), to_pil(image), task, config, held) for image, text in questions)
        return self._complete(task, bodies, listener)

    def _complete(self, task: Task, bodies: Iterable[Body], listener: Listener) -> list[Completion]:
        served = self._tasks.get(task)
        if served is None:
            known = ", ".join(other.model for other in self._tasks.values()) or "none at all"
            raise RemoteError(
                f"No server is known for task {task.value}; there is {known}. Serve the exported task, and add its "
                f"address: {task.value}=http://…"
            )
        hearer = _Hearer(listener.on_text, listener.on_token)
        answers = self._crew.complete(served, bodies, hearer, listener.cancelled)
        for row, answer in enumerate(answers):
            hearer(row, answer.text, answer.chunks)
            answer.text = answer.text.strip()
            if task is Task.G and answer.text and not any(answer.pieces):
                raise RemoteError(
                    f"{served.model} at {served.url} sends no probabilities, from which boxes are scored. Use a server "
                    "that has 'logprobs', such as vLLM."
                )
        return answers


def _body(
    conversation: Conversation,
    picture: Image.Image | None,
    task: Task,
    config: GenerationConfig,
    held: str | None = None,
) -> Body:
    settings = decoding(config)
    if task is Task.G:
        settings["logprobs"] = True
    if held is not None:
        settings["structured_outputs"] = {"regex": held}

    def make() -> dict[str, Any]:
        return {"messages": messages(conversation, data_url(picture) if picture is not None else None), **settings}

    return make


class _Hearer:
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
        said, before = text.strip(), self._texts.get(row, "")
        if self._on_text is None or before.startswith(said):
            return
        self._on_text(row, said[len(before) :] if said.startswith(before) else f"\n\n{said}")
        self._texts[row] = said

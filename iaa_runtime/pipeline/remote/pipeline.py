"""RemotePipeline: the workflows with servers that answer, such as vLLM with exported tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle

from ...boxes.answers import parse_boxes
from ...config import GenerationConfig, Task
from ...errors import Cancel, InputError, RemoteError
from ...text.conversation import Conversation
from ...text.formats import format_check
from ...text.texts import texts
from ..base import Listener, Pipeline, Question, Request, TextAnswer
from .client import Growth, request_body
from .formats import check_formatted
from .known_pictures import check_boxes
from .messages import Completion, SharedUrls
from .rating import mean_logprob, rating_body
from .retries import Retries
from .said import one_line
from .servers import Endpoint, find_tasks
from .transport import CancelToken, Timeouts
from .workers import Workers, cancellable

CONCURRENCY = 8
"""Requests under way at once. A server batches what comes together, so one at a time would leave it idle."""
HasFormat = Callable[[str], bool] | None


class RemotePipeline(Pipeline):
    """Tasks on servers.

    Args:
        tasks: who answers which.
        concurrency: requests at once.
        timeouts: how long is waited for a server.
        retries: how often it is asked again.

    Example:
        >>> pipeline = RemotePipeline.connect([url])  # such as "http://127.0.0.1:8000"; one for each task, or for all
        >>> pipeline.text("What is the opposite of left?")
        'right'
    """

    def __init__(
        self,
        tasks: Mapping[Task, Endpoint],
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
    ) -> None:
        if concurrency < 1:
            raise InputError(f"The concurrency is {concurrency}; it must be at least 1.")
        self.tasks = dict(tasks)
        self._checked: set[Endpoint] = set()
        self._workers = Workers(concurrency, timeouts or Timeouts(), retries or Retries())

    @classmethod
    def connect(
        cls,
        servers: str | Sequence[str],
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        cancelled: Cancel = None,
    ) -> RemotePipeline:
        """Asks servers which tasks they have.

        Args:
            servers: one, or several: as for :func:`.servers.find_tasks`, whose errors this raises.
            concurrency: requests at once.
            timeouts: how long is waited for an answer, later on.
            retries: how often it is asked again, later on.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` at once.
        """
        cancel_token = CancelToken()
        tasks = cancellable(lambda: find_tasks(texts(servers, "A server"), cancel_token), cancel_token, cancelled)
        return cls(tasks, concurrency, timeouts, retries)

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together, where servers say it; else more than any has."""
        return min((endpoint.context for endpoint in self.tasks.values() if endpoint.context), default=1 << 31)

    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """0: only the server can count; it refuses what is too long, and a chat then forgets its oldest turns."""
        return 0

    def identity(self) -> dict[str, str]:
        """The names of the models that answer: a server says no more of its own."""
        names = ", ".join(self.tasks[task].model for task in Task if task in self.tasks)
        return {"model": f"served: {names}", "dtype": "the server's"}

    def check_box_budget(self, config: GenerationConfig, several: bool) -> None:
        """Nothing: only the server knows how many tokens a box takes."""

    def check_task(self, task: Task) -> None:
        """Raises :class:`RemoteError` where no server is known for the task."""
        self._endpoint(task)

    def forget_pictures(self) -> None:
        """Nothing: only the server remembers pictures, if it does."""

    def answer(self, questions: Iterable[Question], request: Request) -> list[TextAnswer]:
        """See :meth:`Pipeline.answer`; the number of workers decides how many questions are asked at once.

        With the grammar, what the model says by itself stands if it begins with a box. Otherwise it is asked again,
        the server holding it to boxes; such a box scores 0. (Servers give the probabilities behind a grammar, which
        are near 1 where there is little choice. Those of the model itself are wanted, as of answers made here.)

        Raises:
            RemoteError: no server is known for the task, or it gives no answer; an answer of G comes without
                probabilities, or is no box although the server was to hold it to one; a llama.cpp server's boxes lie
                beside what they are of, which is tried once; an answer has not the format that it was to have.
            InputError: the server cannot hold answers to that format, or one was cut off before it had it; or before
                it had a box, the server holding it to one.
        """
        endpoint, format = self._endpoint(request.task), request.config.format
        has_format = format_check(format) if format else None  # raises before anything is asked
        if request.task is Task.G and endpoint.llama_cpp and endpoint not in self._checked:
            check_boxes(endpoint, lambda known: self._known(known, request.listener))
            self._checked.add(endpoint)
        if not request.grammar:
            return list(self._complete(questions, request, has_format=has_format))
        rows = list(questions)  # some are asked again
        answers = self._complete(rows, request)
        self._ask_again(rows, answers, replace(request, listener=Listener(cancelled=request.listener.cancelled)))
        return list(answers)

    def rate(self, questions: Iterable[Question], choices: Sequence[str], request: Request) -> list[list[float]]:
        """See :meth:`Pipeline.rate`; a request a choice.

        Raises:
            RemoteError: no server is known for the task, or it does not tell how likely a given answer is.
        """
        endpoint, urls, listener = self._endpoint(request.task), SharedUrls(), request.listener
        bodies = (rating_body(question, choice, urls, endpoint) for question in questions for choice in choices)
        read = self._workers.complete(endpoint, bodies, cancelled=listener.cancelled)
        means = [mean_logprob(choice, answer, endpoint) for choice, answer in zip(cycle(choices), read, strict=False)]
        rated = [means[first : first + len(choices)] for first in range(0, len(means), len(choices))]
        for row in range(len(rated)):
            if listener.on_token is not None:
                listener.on_token(row, 0)
        return rated

    def _known(self, questions: Sequence[Question], listener: Listener) -> list[str]:
        quietly = Request(Task.G, GenerationConfig.for_task(Task.G), Listener(cancelled=listener.cancelled))
        return [answer.text for answer in self._complete(questions, quietly)]

    def _ask_again(self, questions: Sequence[Question], answers: list[Completion], request: Request) -> None:
        """Replaces answers that are no boxes by ones that the server holds to boxes."""
        again = [row for row, answer in enumerate(answers) if not parse_boxes(answer.text)]
        held = self._complete([questions[row] for row in again], request, held=True)
        for row, answer in zip(again, held, strict=True):
            if not parse_boxes(answer.text):
                raise _no_box(answer, self.tasks[request.task], request.config.max_new_tokens)
            answer.logprobs = [-math.inf] * len(answer.tokens)
            answers[row] = answer
        if not request.several:
            for answer in answers:
                answer.keep_first_box()

    def _endpoint(self, task: Task) -> Endpoint:
        if task not in self.tasks:
            known = ", ".join(other.model for other in self.tasks.values()) or "none at all"
            raise RemoteError(
                f"No server is known for task {task.value}; there is {known}. Serve the exported task, and add its "
                f"address: {task.value}=http://…"
            )
        return self.tasks[task]

    def _complete(
        self, questions: Iterable[Question], request: Request, held: bool = False, has_format: HasFormat = None
    ) -> list[Completion]:
        task, listener = request.task, request.listener
        endpoint = self._endpoint(task)
        growth = Growth(listener.on_text, listener.on_token)
        urls = SharedUrls()
        bodies = (request_body(question, request, urls, endpoint, held) for question in questions)
        answers = self._workers.complete(endpoint, bodies, growth, listener.cancelled)
        for row, answer in enumerate(answers):
            growth(row, answer.text, answer.chunks)
            if has_format is not None:
                check_formatted(row, answer, has_format, endpoint)
            answer.text = answer.text.strip()
            if task is Task.G and answer.text and not any(answer.tokens):
                raise RemoteError(
                    f"{endpoint.model} at {endpoint.url} sends no probabilities, from which boxes are scored. Use a "
                    "server that has 'logprobs', such as vLLM."
                )
            if task is Task.G and parse_boxes(answer.text) != parse_boxes("".join(answer.tokens)):
                raise RemoteError(
                    f"{endpoint.model} at {endpoint.url} sends probabilities that are not those of the boxes in its "
                    "answer, so they cannot be scored. Use a server that has 'logprobs' of every token, such as vLLM."
                )
        return answers


def _no_box(answer: Completion, endpoint: Endpoint, most: int) -> Exception:
    """The error that an answer holds no box although the server was to hold it to boxes."""
    said = f"'{one_line(answer.text)}' of {endpoint.model} at {endpoint.url}"
    if answer.finish == "length" and not answer.text.strip("[0123456789., ;]"):  # words are of a server that holds none
        return InputError(
            f"The answer {said} was cut off before it had a box: {most} new tokens are too few for one, or the "
            "server's context is full. Raise max_new_tokens (--max-new-tokens), shorten the phrase, or switch the "
            "grammar off."
        )
    return RemoteError(
        f"The answer {said} is no box. Is the exported task G served there? A server that cannot hold answers to a "
        "grammar can be asked without one."
    )

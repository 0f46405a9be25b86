"""The pipeline's interface over servers: what :class:`iaa_runtime.pipeline.local.IAAPipeline` does, done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...boxes.answers import Detection
from ...boxes.grounding import GroundingAnswer, read_answer
from ...config import GenerationConfig, Task
from ...errors import InputError
from ...generation.prefill import Cancel
from ...images.load import AnyImage, to_pil
from ...text.conversation import CAPTION_PROMPTS, DEFAULT_SYSTEM, Conversation, asked_phrase, grounding_question
from ..chat import Chat, Reply
from ..local import OnText, OnToken
from .client import Asker, Listener
from .messages import Completion
from .retries import Retries
from .servers import Served, find_tasks
from .transport import Lifeline, Timeouts
from .workers import Crew, watched

CONCURRENCY = 8
"""Requests under way at once. A server batches what comes together, so one at a time would leave it idle."""


class RemotePipeline:
    """Tasks on servers.

    Args:
        tasks: who answers which.
        concurrency: requests at once.
        timeouts: how long is waited for a server.
        retries: how often it is asked again.

    Example:
        >>> pipeline = RemotePipeline.connect(["http://127.0.0.1:8000", "http://127.0.0.1:8001"])
        >>> pipeline.ground("photo.jpg", ["red panda"])
        [[Detection(x=110, y=54, width=420, height=371, label='red panda', score=0.83)]]
    """

    is_demo = False

    def __init__(
        self,
        tasks: Mapping[Task, Served],
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
    ) -> None:
        if concurrency < 1:
            raise InputError(f"The concurrency is {concurrency}; it must be at least 1.")
        self.tasks = dict(tasks)
        self._asker = Asker(self.tasks, Crew(concurrency, timeouts or Timeouts(), retries or Retries()))

    @classmethod
    def connect(
        cls,
        servers: Sequence[str],
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        cancelled: Cancel = None,
    ) -> RemotePipeline:
        """Asks servers which tasks they have.

        Args:
            servers: as for :func:`.servers.find_tasks`, whose errors this raises.
            concurrency: requests at once.
            timeouts: how long is waited for an answer, later on.
            retries: how often it is asked again, later on.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` at once.
        """
        lifeline = Lifeline()
        tasks = watched(lambda: find_tasks(servers, lifeline), lifeline, cancelled)
        return cls(tasks, concurrency, timeouts, retries)

    @property
    def name(self) -> str:
        """The models that answer, for manifests: ``iaa-mm, iaa-g``."""
        return ", ".join(self.tasks[task].model for task in Task if task in self.tasks)

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together, where servers say it; else more than any has."""
        return min((served.context for served in self.tasks.values() if served.context), default=1 << 31)

    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """0: only the server can count; it refuses what is too long, and a chat then forgets its oldest turns."""
        return 0

    # Workflows -------------------------------------------------------------------------------------------------------

    def caption(
        self,
        images: AnyImage | Sequence[AnyImage],
        prompt: str = CAPTION_PROMPTS["caption"],
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Any,
    ) -> list[str]:
        """Answers ``prompt`` about each image (task MM), as :meth:`IAAPipeline.caption` does.

        Raises:
            RemoteError: a server cannot be reached, refuses, or says what is no answer.
        """
        asked = [(image, prompt) for image in _as_list(images)]
        config = GenerationConfig.for_task(Task.MM, **options)
        answers = self._asker.ask(asked, Task.MM, config, Listener(on_text, on_token, cancelled))
        return [answer.text for answer in answers]

    def ground(
        self,
        images: AnyImage | Sequence[AnyImage],
        phrases: str | Sequence[str],
        *,
        threshold: float = 0.0,
        **options: Any,
    ) -> list[list[Detection]]:
        """Finds phrases in images (task G), as :meth:`IAAPipeline.ground` does."""
        return [
            [d for answer in answers for d in answer.detections if d.score >= threshold]
            for answers in self.ground_answers(images, phrases, **options)
        ]

    def ground_answers(
        self,
        images: AnyImage | Sequence[AnyImage],
        phrases: str | Sequence[str],
        *,
        grammar: bool = True,
        several: bool = True,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Any,
    ) -> list[list[GroundingAnswer]]:
        """Like :meth:`ground`, with each phrase's raw answer, as :meth:`IAAPipeline.ground_answers` does.

        The grammar is that of :meth:`.Asker.ask`. Without it, an answer that is no box gives no box.

        Raises:
            InputError: no phrase, or an empty one.
            RemoteError: as for :meth:`caption`; or an answer is no box, or comes without probabilities.
        """
        wanted = [phrases] if isinstance(phrases, str) else list(phrases)
        if not wanted:
            raise InputError("There is no phrase to look for. Give at least one.")
        questions = [grounding_question(phrase) for phrase in wanted]
        pictures = [to_pil(image) for image in _as_list(images)]
        asked = [(picture, question) for picture in pictures for question in questions]
        config = GenerationConfig.for_task(Task.G, **options)
        listener = Listener(None, on_token, cancelled)
        answers = self._asker.ask(asked, Task.G, config, listener, grammar=grammar, several=several)
        flat = [
            read_answer(wanted[row % len(wanted)].strip(), answer.pieces, answer.logprobs, asked[row][0].size)
            for row, answer in enumerate(answers)
        ]
        return [flat[start : start + len(wanted)] for start in range(0, len(flat), len(wanted))]

    def text(
        self,
        prompt: str,
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Any,
    ) -> str:
        """Answers a prompt without an image (task Text)."""
        talk = Conversation().user(prompt)
        reply = self.reply(talk, Task.TEXT, None, on_text=on_text, on_token=on_token, cancelled=cancelled, **options)
        return reply.text

    def chat(self, image: AnyImage | None = None, system: str | None = DEFAULT_SYSTEM) -> Chat:
        """Starts a conversation in which each turn chooses its task; the tasks may be on different servers."""
        return Chat(self, image, system)

    def reply(
        self,
        conversation: Conversation,
        task: Task | str,
        image: AnyImage | None = None,
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Any,
    ) -> Reply:
        """Continues a conversation by one answer, as :meth:`IAAPipeline.reply` does."""
        task = Task.parse(task)
        config = GenerationConfig.for_task(task, **options)
        picture = to_pil(image) if image is not None and task.sees else None
        answer = self._asker.say(conversation, picture, task, config, Listener(on_text, on_token, cancelled))
        if task is not Task.G or picture is None:
            return Reply(answer.text)
        asked = asked_phrase(conversation.messages[-1].content)
        return Reply(answer.text, read_answer(asked, answer.pieces, answer.logprobs, picture.size).detections)

    def ask(
        self,
        questions: Sequence[tuple[AnyImage, str]],
        task: Task,
        config: GenerationConfig,
        *,
        grammar: bool = False,
        several: bool = True,
    ) -> list[Completion]:
        """Answers different questions about different pictures, as :meth:`.Asker.ask` does."""
        return self._asker.ask(questions, task, config, Listener(), grammar=grammar, several=several)


def _as_list(images: AnyImage | Sequence[AnyImage]) -> list[AnyImage]:
    return list(images) if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]

"""The pipeline's interface over servers: what :class:`iaa_runtime.pipeline.IAAPipeline` does, done elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from ..boxes import Detection
from ..chat import Chat, Reply
from ..config import GenerationConfig, Task
from ..errors import InputError, RemoteError
from ..grounding import GroundingAnswer, read_answer
from ..images import AnyImage, to_pil
from ..pipeline import OnText, OnToken
from ..prefill import Cancel
from ..prompts import CAPTION_PROMPTS, DEFAULT_SYSTEM, Conversation, asked_phrase, grounding_question
from .crew import Body, Crew, watched
from .messages import Completion, data_url, decoding, held_to_boxes, messages
from .retries import Retries, shown
from .servers import Served, find_tasks
from .transport import Lifeline, Timeouts

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
        self._crew = Crew(concurrency, timeouts or Timeouts(), retries or Retries())

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
        return [answer.text for answer in self.ask(asked, Task.MM, config, None, on_text, on_token, cancelled)]

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

        With the grammar the server is asked to hold answers to boxes. One that ignores this and says what is no box is
        an error, since an answer of ours would be boxes; without the grammar such an answer gives no box.

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
        held = held_to_boxes(several) if grammar else None
        flat = [
            read_answer(wanted[row % len(wanted)].strip(), answer.pieces, answer.logprobs, asked[row][0].size)
            for row, answer in enumerate(self.ask(asked, Task.G, config, held, None, on_token, cancelled))
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
        body = self._body(conversation, picture, task, config)
        (answer,) = self._complete(task, [body], on_text, on_token, cancelled)
        if task is not Task.G or picture is None:
            return Reply(answer.text)
        asked = asked_phrase(conversation.messages[-1].content)
        return Reply(answer.text, read_answer(asked, answer.pieces, answer.logprobs, picture.size).detections)

    # Steps -----------------------------------------------------------------------------------------------------------

    def ask(
        self,
        questions: Sequence[tuple[AnyImage, str]],
        task: Task,
        config: GenerationConfig,
        held: str | None = None,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
    ) -> list[Completion]:
        """Answers questions about pictures.

        Args:
            questions: (picture, question), a row each.
            task: MM or G.
            config: how answers are decoded.
            held: a regular expression that the server holds answers to, which are boxes then.
            on_text: called with (row, new text).
            on_token: called with (row, 0) for every token: its id stays with the server.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` at once.

        Raises:
            RemoteError: as for :meth:`caption` and :meth:`ground_answers`.
        """
        bodies = (self._body(Conversation().user(text), to_pil(image), task, config, held) for image, text in questions)
        answers = self._complete(task, bodies, on_text, on_token, cancelled)
        for answer in answers if held is not None else ():
            if not answer.text.startswith("["):
                raise RemoteError(
                    f"The answer {shown(answer.text)!r} of {self.tasks[task].model} at {self.tasks[task].url} is no "
                    "box. Is the exported task G served there?"
                )
        return answers

    def _body(
        self,
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

    def _complete(
        self, task: Task, bodies: Iterable[Body], on_text: OnText, on_token: OnToken, cancelled: Cancel
    ) -> list[Completion]:
        served = self.tasks.get(task)
        if served is None:
            raise RemoteError(
                f"No server is known for task {task.value}; there is {self.name or 'none at all'}. Serve the exported "
                f"task, and add its address: {task.value}=http://…"
            )
        hearer = _Hearer(on_text, on_token)
        answers = self._crew.complete(served, bodies, hearer, cancelled)
        for row, answer in enumerate(answers):
            hearer(row, answer.text, answer.chunks)
            answer.text = answer.text.strip()
            if task is Task.G and answer.text and not any(answer.pieces):
                raise RemoteError(
                    f"{served.model} at {served.url} sends no probabilities, from which boxes are scored. Use a server "
                    "that has 'logprobs', such as vLLM."
                )
        return answers


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


def _as_list(images: AnyImage | Sequence[AnyImage]) -> list[AnyImage]:
    return list(images) if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]

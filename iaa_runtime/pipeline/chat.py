"""A conversation in which the task may change from turn to turn: both published chat scripts as one class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..boxes.answers import Detection
from ..config import GenerationConfig, Task
from ..errors import ContextLengthError
from ..images.load import AnyImage, to_picture
from ..images.picture import Picture
from ..text.conversation import Conversation
from ..text.prompts import DEFAULT_SYSTEM
from .options import ReplyOptions
from .shown import figure

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Reply:
    """One answer in a conversation. A notebook shows it above its picture with the boxes.

    Attributes:
        text: what was answered.
        detections: the boxes in it where it came from G.
        image: the picture that it is about; None where there is none, and in Text turns.
    """

    text: str
    detections: tuple[Detection, ...] = ()
    image: Picture | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str | None:
        return figure(self.text, self.image, self.detections)


class Talker(Protocol):
    """What a conversation needs of a pipeline."""

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together."""

    def reply(
        self,
        conversation: Conversation,
        task: Task | str,
        image: AnyImage | None = None,
        **options: Unpack[ReplyOptions],
    ) -> Reply:
        """Continues a conversation by one answer."""

    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """Tokens of a conversation as the prompt of ``task``, the image's patches counted."""


@dataclass(frozen=True)
class Turn:
    """One question with its answer.

    Attributes:
        task: who answered.
        question: the user's message.
        reply: the answer, with boxes where G gave any.
        forgotten: how many of the oldest turns had to be dropped before this one to make room in the context.
    """

    task: Task
    question: str
    reply: Reply
    forgotten: int = 0

    def _repr_html_(self) -> str | None:
        return figure(f"{self.question}\n→ {self.reply.text}", self.reply.image, self.reply.detections)


class Chat:
    """A conversation about an image, or about nothing in particular.

    Every turn sees all earlier ones, whichever task they were for. The image stands before the first message in MM and
    G turns, and Text turns do not see it. When the context is full, the oldest turns are forgotten.

    Args:
        pipeline: answers.
        image: what the conversation is about.
        system: the system prompt.
        conversation: goes on with this one, which stays as it is; its own system prompt holds.

    Attributes:
        image: what the conversation is about; may be changed at any time.
        turns: questions with their answers, in order.

    Example:
        >>> from iaa_runtime import IAAPipeline
        >>> from iaa_runtime.shapes.scenes import draw_scene, make_scene
        >>> chat = IAAPipeline.from_pretrained().chat(draw_scene(make_scene(7)))
        >>> chat.say("How many shapes are there?").reply.text
        '3'
        >>> chat.say("What is 2 plus 3?", task="Text").reply.text
        '5'
    """

    def __init__(
        self,
        pipeline: Talker,
        image: AnyImage | None = None,
        system: str | None = DEFAULT_SYSTEM,
        conversation: Conversation | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._system = system
        self.image: Picture | None = to_picture(image) if image is not None else None
        self.conversation = conversation.copy() if conversation is not None else Conversation(system)
        self.turns: list[Turn] = []

    def say(self, text: str, task: Task | str = Task.MM, **options: Unpack[ReplyOptions]) -> Turn:
        """Asks and waits for the answer. Nothing is remembered of a turn that fails or is cancelled.

        Args:
            text: goes to the model as it is; G knows one sentence, which
                :func:`~iaa_runtime.text.prompts.grounding_question` makes of a phrase.
            task: who answers.
            **options: those of :meth:`IAAPipeline.reply`.

        Raises:
            ContextLengthError: this message alone does not fit into the context.
        """
        task = Task.parse(task)
        talk = self.conversation.copy().user(text)
        forgotten = self._make_room(talk, task, GenerationConfig.for_task(task, **_generation(options)).max_new_tokens)
        while True:
            try:
                reply = self._pipeline.reply(talk, task, self.image, **options)
                break
            except ContextLengthError:  # where only a server can count, it says so now
                if not talk.pop_oldest_turn():
                    raise
                forgotten += 1
        self.conversation = talk.assistant(reply.text)
        turn = Turn(task, text, reply, forgotten)
        self.turns.append(turn)
        return turn

    def clear(self) -> None:
        """Forgets all turns; keeps the image and the system prompt."""
        self.conversation = Conversation(self._system)
        self.turns.clear()

    def _make_room(self, talk: Conversation, task: Task, wanted: int) -> int:
        """Drops the oldest turns until a quarter of the context, or all that is wanted, is left for the answer."""
        context = self._pipeline.context
        needed = min(wanted, context // 4)
        forgotten = 0
        while self._pipeline.prompt_length(talk, task, self.image is not None) + needed > context:
            if not talk.pop_oldest_turn():
                break
            forgotten += 1
        return forgotten


def _generation(options: ReplyOptions) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("on_text", "on_token", "cancelled")}

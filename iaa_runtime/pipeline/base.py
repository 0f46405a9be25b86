"""The three workflows in words and pictures, written once over whoever answers: a model here, or servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..boxes.answers import Detection
from ..boxes.grounding import GroundingAnswer, parse_answer
from ..config import BATCH_ROWS as BATCH_ROWS
from ..config import GenerationConfig, GenerationOptions, Task
from ..errors import Cancel
from ..images.load import AnyImage, to_picture
from ..images.picture import Picture
from ..text.conversation import Conversation
from ..text.prompts import CAPTION_PROMPTS, DEFAULT_SYSTEM, asked_phrase, distinct_phrases, grounding_question
from .chat import Chat, Reply
from .given import Images, Phrases, as_list, one_each, phrases_of_each
from .options import GroundOptions
from .options import OnText as OnText
from .options import OnToken as OnToken
from .shown import Detections, DetectionsOfEach

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    def about(cls, picture: Picture, text: str) -> Question:
        """A first question about a picture."""
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


class Pipeline(ABC):
    """Caption, ground, text and chat, over :meth:`answer`, which a subclass supplies.

    Attributes:
        is_demo: whether the demo checkpoint answers, which knows only coloured shapes.
        score_threshold: boxes that score less are dropped where nobody says otherwise; 0 where the model's scores are
            not known.
    """

    is_demo = False
    score_threshold = 0.0

    # What a subclass supplies ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together."""

    @abstractmethod
    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """Tokens of a conversation as the prompt of ``task``, the image's patches counted; 0 where nobody knows."""

    @abstractmethod
    def answer(self, questions: Iterable[Question], request: Request) -> list[TextAnswer]:
        """Answers questions, which are taken as they are needed; each answer is that of asking alone.

        Raises:
            ContextLengthError: a question does not fit into the context.
            RemoteError: a server does not answer as it should.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What decides answers besides the questions: ``model``, ``dtype`` and the like, for a job's settings."""

    @abstractmethod
    def check_box_budget(self, config: GenerationConfig, several: bool) -> None:
        """Raises :class:`InputError` where ``config`` leaves too few tokens for a box, as far as that is known."""

    @abstractmethod
    def check_task(self, task: Task) -> None:
        """Gets ready for questions to ``task``.

        Raises:
            CheckpointError: the checkpoint has no weights for it.
            RemoteError: no server is known for it.
        """

    @abstractmethod
    def forget_pictures(self) -> None:
        """Drops what is remembered of pictures seen before, if anything is."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.identity().items())})"

    # Workflows -------------------------------------------------------------------------------------------------------

    def caption(
        self,
        images: Images,
        prompt: str | Sequence[str] = CAPTION_PROMPTS["caption"],
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Unpack[GenerationOptions],
    ) -> list[str]:
        """Answers ``prompt`` about each image (task MM).

        Args:
            images: one, or several in a list: paths, PIL images, HWC arrays or tensors; a BHWC array is B of them.
            prompt: the question, about every image; or one an image.
            on_text: called with (image number, new text).
            on_token: called with (image number, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: images answered at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            One answer an image.

        Raises:
            InputError: there are several prompts, but not one an image; or what is given is no picture.
        """
        config = GenerationConfig.for_task(Task.MM, **options)
        each = as_list(images)
        prompts = [prompt] * len(each) if isinstance(prompt, str) else one_each(prompt, len(each), "prompts")
        questions = (Question.about(to_picture(image), text) for image, text in zip(each, prompts, strict=True))
        request = Request(Task.MM, config, Listener(on_text, on_token, cancelled), batch_rows=batch_rows)
        return [answer.text for answer in self.answer(questions, request)]

    def ground(
        self,
        images: Images,
        phrases: Phrases,
        *,
        threshold: float | None = None,
        **options: Unpack[GroundOptions],
    ) -> list[list[Detection]]:
        """Finds phrases in images (task G).

        Args:
            images: one or several.
            phrases: what to look for, each once: every phrase in every image, or a list of them an image.
            threshold: drops boxes with a lower score; None is the model's own, :attr:`score_threshold`.
            **options: those of :meth:`ground_answers`.

        Returns:
            For each image its detections, phrase by phrase, in pixels of that image, labelled with their phrase. A
            notebook shows them on the pictures.
        """
        least = self.score_threshold if threshold is None else threshold
        each = as_list(images)
        wanted = [distinct_phrases(own) for own in phrases_of_each(phrases, len(each))]
        found = self.ground_answers(each, wanted, **options)
        return DetectionsOfEach(
            Detections((d for answer in answers for d in answer.detections if d.score >= least), image)
            for image, answers in zip(each, found, strict=True)
        )

    def ground_answers(
        self,
        images: Images,
        phrases: Phrases,
        *,
        grammar: bool = True,
        several: bool = True,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Unpack[GenerationOptions],
    ) -> list[list[GroundingAnswer]]:
        """Like :meth:`ground`, with each phrase's raw answer.

        Args:
            images: one or several.
            phrases: what to look for, in every image, or a list of phrases an image. Phrases on one image share its
                vision pass and the prefix of the prompt.
            grammar: hold every answer to ``[x1,y1,x2,y2]; …``; without it the model says what it likes, and what is
                no box gives no box.
            several: allow several boxes a phrase (with the grammar).
            on_token: called with (row, token id), rows counted image by image and phrase by phrase.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: answers written at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            For each image an answer a phrase.

        Raises:
            InputError: no phrase, an empty one, or lists of them but not one an image.
        """
        pictures = [to_picture(image) for image in as_list(images)]
        wanted = phrases_of_each(phrases, len(pictures))
        asked = [[grounding_question(phrase) for phrase in own] for own in wanted]
        config = GenerationConfig.for_task(Task.G, **options)
        request = Request(Task.G, config, Listener(None, on_token, cancelled), grammar, several, batch_rows)
        questions = [
            Question.about(picture, text) for picture, own in zip(pictures, asked, strict=True) for text in own
        ]
        rows = iter(self.answer(questions, request))
        return [
            [_grounding(phrase.strip(), next(rows), picture) for phrase in own]
            for picture, own in zip(pictures, wanted, strict=True)
        ]

    def text(
        self,
        prompt: str,
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Unpack[GenerationOptions],
    ) -> str:
        """Answers a prompt without an image (task Text): the frozen language model alone."""
        talk = Conversation().user(prompt)
        reply = self.reply(talk, Task.TEXT, None, on_text=on_text, on_token=on_token, cancelled=cancelled, **options)
        return reply.text

    def chat(self, image: AnyImage | None = None, system: str | None = DEFAULT_SYSTEM) -> Chat:
        """Starts a conversation, about an image or without one, in which each turn chooses its task."""
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
        **options: Unpack[GenerationOptions],
    ) -> Reply:
        """Continues a conversation by one answer, which is not added to it.

        Args:
            conversation: ends with the user's message, which goes to the model as it is.
            task: who answers: MM, G or Text.
            image: what the conversation is about; Text turns do not see it.
            on_text: called with (0, new text).
            on_token: called with (0, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            **options: fields of :class:`GenerationConfig`.

        Raises:
            ContextLengthError: the conversation does not fit into the context.
        """
        task = Task.parse(task)
        config = GenerationConfig.for_task(task, **options)
        picture = to_picture(image) if image is not None and task.sees else None
        request = Request(task, config, Listener(on_text, on_token, cancelled))
        (answer,) = self.answer([Question(conversation, picture)], request)
        if task is not Task.G or picture is None:
            return Reply(answer.text, (), picture)
        phrase = asked_phrase(conversation.messages[-1].content)
        return Reply(answer.text, _grounding(phrase, answer, picture).detections, picture)


def _grounding(phrase: str, answer: TextAnswer, picture: Picture) -> GroundingAnswer:
    return parse_answer(phrase, answer.tokens, answer.logprobs, picture.size)

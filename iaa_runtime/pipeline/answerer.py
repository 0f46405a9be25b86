"""Who answers questions: a model here, or servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from ..config import GenerationConfig, Task
from ..text.conversation import Conversation
from .asking import Question, Request, TextAnswer


class Answerer(ABC):
    """What the workflows of :class:`.base.Pipeline` stand on.

    Attributes:
        is_demo: whether the demo checkpoint answers, which knows only coloured shapes.
        score_threshold: boxes that score less are dropped where nobody says otherwise; 0 where the model's scores are
            not known.
    """

    is_demo = False
    score_threshold = 0.0

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
    def rate(self, questions: Iterable[Question], choices: Sequence[str], request: Request) -> list[list[float]]:
        """How likely each of ``choices`` is as the beginning of each answer.

        Args:
            questions: taken as they are needed.
            choices: the same for every question.
            request: who answers, how many rows at once, and who hears: ``on_token`` once a question, ``cancelled``.

        Returns:
            For each question the mean log-probability of each choice's tokens.

        Raises:
            ContextLengthError: a question does not fit into the context.
            RemoteError: a server does not answer as it should, or does not say such things.
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

"""IAAPipeline: the workflows with a checkpoint on this machine."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..adaptors.loaded import Adaptors, Given
from ..checkpoint.checkpoint import DEMO_CHECKPOINT
from ..checkpoint.demo import is_demo
from ..checkpoint.fingerprint import fingerprint
from ..config import GenerationConfig, Task
from ..errors import Cancel, CheckpointError, ContextLengthError
from ..generation.grammar import BoxGrammar, grammar_for
from ..generation.prefill import Prompt
from ..generation.rows import Answer
from ..generation.structured import FormatGrammar
from ..images.picture import Picture
from ..images.preprocess import preprocess
from ..model.dtypes import Dtype, dtype_name
from ..model.layers import Ops
from ..text.conversation import EOT, Conversation
from ..text.formats import Formats, cut_off
from ..text.streaming import TextStream
from ..text.tokenizer import encode, fits, load_tokenizer, token_id, token_texts
from .asking import batches
from .base import Pipeline, Question, Request, TextAnswer
from .model import IAAModel
from .options import OpenOptions
from .vision_cache import VisionCache

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

Seen = dict[int, tuple[Picture, torch.Tensor]]
"""Pictures by their ids, which hold as long as the picture is there, each with the tower's input (3, size, size)."""


class IAAPipeline(Pipeline):
    """A model with its tokenizer.

    Attributes:
        model: the banks and workflows.
        tokenizer: the checkpoint's.

    Example:
        >>> from iaa_runtime.shapes.scenes import draw_scene, make_scene
        >>> picture = draw_scene(make_scene(7))  # or a path, a PIL image, an array, a tensor; or a list of them
        >>> pipeline = IAAPipeline.from_pretrained(device="auto")  # the demo model; or a folder
        >>> pipeline.caption(picture)
        ['Three shapes, from left to right: a small black circle, a small orange circle and a large orange circle.']
        >>> pipeline.caption([picture, picture], "How many shapes are there?", max_new_tokens=8)
        ['3', '3']
        >>> pipeline.ground(picture, ["the leftmost shape"])
        [[Detection(x=19, y=5, width=56, height=56, label='the leftmost shape', score=0.2...)]]
        >>> pipeline.text("What is the opposite of left?")
        'right'
    """

    def __init__(self, model: IAAModel, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.eos = token_id(tokenizer, EOT)
        self.vision_cache = VisionCache(model)
        self._grammars: dict[bool, BoxGrammar] = {}
        self._formats: Formats | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path = DEMO_CHECKPOINT,
        dtype: Dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        **options: Unpack[OpenOptions],
    ) -> IAAPipeline:
        """Opens a checkpoint (the demo one by default); the arguments are those of :meth:`IAAModel.from_pretrained`."""
        model = IAAModel.from_pretrained(folder, dtype, device, ops, **options)
        return cls(model, load_tokenizer(model.checkpoint.folder))

    def __repr__(self) -> str:
        return repr(self.model).replace(type(self.model).__name__, type(self).__name__, 1)

    @property
    def adaptors(self) -> Adaptors:
        """The adaptors that the model answers with; none at first."""
        return self.model.adaptors

    def adapted(self, *adaptors: Given) -> IAAPipeline:
        """The same pipeline, with weights and pictures seen shared, answering with these adaptors in place of its own.

        Raises:
            AdaptorError: a file is broken, or was taught on another model.
        """
        twin = copy.copy(self)
        twin.model = self.model.adapted(*adaptors)
        return twin

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together."""
        return self.model.config.max_position_embeddings

    @cached_property
    def is_demo(self) -> bool:  # type: ignore[override]
        """Whether this is the demo model, which knows only coloured shapes."""
        return is_demo(self.model.checkpoint)

    @property
    def score_threshold(self) -> float:  # type: ignore[override]
        """What the checkpoint's config.json says, or 0."""
        return self.model.config.score_threshold

    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """Tokens of a conversation as the prompt of ``task``, the image's patches counted.

        Of one that is far too long, as many as leave no room.
        """
        if not fits(self.tokenizer, _said(conversation), self.context):
            return self.context
        sees = image and Task.parse(task).sees
        ids = conversation.encode(self.tokenizer, task, image=sees)
        return len(ids) + (self.model.num_image_tokens - 1 if sees else 0)

    def identity(self) -> dict[str, str]:
        """The checkpoint's fingerprint, dtype and precision, and the adaptors in use."""
        dtype = dtype_name(self.model.dtype)
        model = fingerprint(self.model.checkpoint)
        found = {"model": model, "dtype": dtype, "precision": self.model.precision or dtype}
        adaptors = self.adaptors.identity()
        return found | {"adaptors": adaptors} if adaptors else found

    def check_box_budget(self, config: GenerationConfig, several: bool) -> None:
        """Raises :class:`InputError` where ``config`` leaves too few tokens for a box."""
        self._grammar(several).check_limit(config.max_new_tokens)

    def check_task(self, task: Task) -> None:
        """Loads the task's weights, and the tower's where it sees; raises :class:`CheckpointError` where some lack."""
        self.model.stack(task)
        if task.sees:
            self.model.bank("vision")

    def forget_pictures(self) -> None:
        """Drops the features of pictures seen before."""
        self.vision_cache.clear()

    def answer(self, questions: Iterable[Question], request: Request) -> list[TextAnswer]:
        """See :meth:`Pipeline.answer`."""
        answers: list[TextAnswer] = []
        seen: Seen = {}
        held = self._held(request.config.format) if request.config.format else None  # raises before anything is loaded
        for batch in batches(questions, request.batch_rows):
            seen = self._look(batch, seen, request.listener.cancelled)
            answers += self._answer_batch(batch, seen, request, len(answers), held)
        return answers

    def rate(self, questions: Iterable[Question], choices: Sequence[str], request: Request) -> list[list[float]]:
        """See :meth:`Pipeline.rate`."""
        for choice in choices:
            self._check_fits(choice)
        ids = [encode(self.tokenizer, choice) for choice in choices]
        listener, rated = request.listener, list[list[float]]()
        seen: Seen = {}
        for batch in batches(questions, request.batch_rows):
            seen = self._look(batch, seen, listener.cancelled)
            prompts = self._prompts(batch, request.task, seen)
            rated += self.model.rate(prompts, request.task, ids, cancelled=listener.cancelled)
            for row in range(len(rated) - len(batch), len(rated)):
                if listener.on_token is not None:
                    listener.on_token(row, 0)
        return rated

    def _look(self, batch: Sequence[Question], before: Seen, cancelled: Cancel) -> Seen:
        """The tower's input of the pictures of a batch, some of which the batch before may have had."""
        seen: Seen = {}
        for picture in {id(q.picture): q.picture for q in batch if q.picture is not None}.values():
            if (known := before.get(id(picture))) is None:
                vision = self.model.vision  # a checkpoint for Text alone has none
                pixels = preprocess([picture], vision.image_size, vision.image_mean, vision.image_std, cancelled)
                known = picture, pixels[0]
            seen[id(picture)] = known
        return seen

    def _answer_batch(
        self, batch: Sequence[Question], seen: Seen, request: Request, first: int, held: FormatGrammar | None
    ) -> list[TextAnswer]:
        config, listener = request.config, request.listener
        streams = [TextStream(self.tokenizer, config.stop) for _ in batch]
        # Beams change their minds, so their text is taken at the end.
        streaming = config.num_beams == 1 and (listener.on_text is not None or bool(config.stop))

        def on_token(row: int, token: int) -> bool:
            if listener.on_token is not None:
                listener.on_token(first + row, token)
            if streaming:
                tell(row, streams[row].push(token))
            return streams[row].stopped

        def tell(row: int, new: str) -> None:
            if new and listener.on_text is not None:
                listener.on_text(first + row, new)

        start = time.perf_counter()
        answers: list[Answer] = self.model.answer(
            self._prompts(batch, request.task, seen),
            request.task,
            config,
            [self.eos],
            constraint=self._grammar(request.several) if request.grammar else held,
            on_token=on_token if streaming or listener.on_token is not None else None,
            cancelled=listener.cancelled,
        )
        made, seconds = sum(len(answer.ids) for answer in answers), time.perf_counter() - start
        log.debug("%d answers of %s: %d tokens in %.2f s", len(answers), request.task.value, made, seconds)
        texts = []
        for row, (stream, answer) in enumerate(zip(streams, answers, strict=True)):
            tell(row, stream.finish() if streaming else stream.decode(answer.ids))
            if held is not None and not held.accepts([i for i in answer.ids if i != self.eos]):
                raise cut_off(first + row, len(answer.ids), config.max_new_tokens)
            tokens = token_texts(self.tokenizer, answer.ids) if request.task is Task.G else []
            texts.append(TextAnswer(stream.text, tokens, answer.logprobs))
        return texts

    def _prompts(self, batch: Sequence[Question], task: Task, seen: Seen | None = None) -> list[Prompt]:
        """The questions as token ids, each with its picture's features; a picture is encoded once."""
        seen = self._look(batch, {}, None) if seen is None else seen
        features: dict[int, torch.Tensor] = {}
        if seen:
            pixels = torch.stack([pixels for _, pixels in seen.values()])
            projected = self.model.project(self.vision_cache.features(pixels), task)
            features = dict(zip(seen, projected, strict=True))
        return [Prompt(self._ids(q, task), features.get(id(q.picture))) for q in batch]

    def _check_fits(self, text: str) -> None:
        if not fits(self.tokenizer, text, self.context):
            raise ContextLengthError(
                f"The text has more tokens than the model's context, which is {self.context}. Shorten it."
            )

    def _ids(self, question: Question, task: Task) -> tuple[int, ...]:
        self._check_fits(_said(question.conversation))
        ids = tuple(question.conversation.encode(self.tokenizer, task, image=question.picture is not None))
        vocabulary = self.model.config.vocab_size
        if max(ids) >= vocabulary:
            raise CheckpointError(
                f"The tokenizer gives the token {max(ids)}, but the model knows {vocabulary}. Use the tokenizer.json "
                "that came with the checkpoint."
            )
        return ids

    def _grammar(self, several: bool) -> BoxGrammar:
        if several not in self._grammars:
            vocabulary = self.model.config.vocab_size
            self._grammars[several] = grammar_for(self.tokenizer, vocabulary, self.eos, several)
        return self._grammars[several]

    def _held(self, format: str) -> FormatGrammar:
        vocabulary = self.model.config.vocab_size
        if self._formats is None:
            self._formats = Formats(self.tokenizer, vocabulary, self.eos)
        return FormatGrammar(self._formats, format, vocabulary)


def _said(conversation: Conversation) -> str:
    return "\n".join(message.content for message in conversation.messages)

"""Images and words in, words and boxes out: the three workflows as one calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..boxes.answers import Detection
from ..boxes.grounding import GroundingAnswer, read_answer
from ..config import GenerationConfig, Task
from ..errors import CheckpointError, InputError
from ..generation.grammar import grammar_for
from ..generation.loop import Answer, Constraint
from ..generation.prefill import Cancel, Prompt
from ..images.load import AnyImage, preprocess, to_pil
from ..model.layers import Ops
from ..text.conversation import CAPTION_PROMPTS, DEFAULT_SYSTEM, EOT, Conversation, asked_phrase, grounding_question
from ..text.streaming import TextStream
from ..text.tokenizer import load_tokenizer, token_id, token_texts
from .chat import Chat, Reply
from .model import IAAModel
from .vision_cache import VisionCache

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo_checkpoint"
"""The small checkpoint in the box: a real IAA model that knows only coloured shapes."""

BATCH_ROWS = 8
"""Rows that are answered at once; bounds memory however many images and phrases come."""

OnText = Callable[[int, str], None] | None
"""Called with (row, new text) as answers grow."""
OnToken = Callable[[int, int], None] | None
"""Called with (row, token id) for every token."""


class IAAPipeline:
    """A model with its tokenizer.

    Attributes:
        model: the banks and workflows.
        tokenizer: the checkpoint's.

    Example:
        >>> pipeline = IAAPipeline.from_pretrained("checkpoint")
        >>> pipeline.caption("photo.jpg")
        ['A red panda on a branch.']
        >>> pipeline.ground("photo.jpg", ["red panda"])
        [[Detection(x=110, y=54, width=420, height=371, label='red panda', score=0.83)]]
    """

    def __init__(self, model: IAAModel, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.eos = token_id(tokenizer, EOT)
        self.vision_cache = VisionCache(model)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path = DEMO_CHECKPOINT,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        **options: Any,
    ) -> IAAPipeline:
        """Opens a checkpoint (the demo one by default); the arguments are those of :meth:`IAAModel.from_pretrained`."""
        model = IAAModel.from_pretrained(folder, dtype, device, ops, **options)
        return cls(model, load_tokenizer(model.checkpoint.folder))

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together."""
        return self.model.config.max_position_embeddings

    @property
    def is_demo(self) -> bool:
        """Whether this is the demo checkpoint, which knows only coloured shapes."""
        return self.model.checkpoint.folder.resolve() == DEMO_CHECKPOINT.resolve()

    # Workflows -------------------------------------------------------------------------------------------------------

    def caption(
        self,
        images: AnyImage | Sequence[AnyImage],
        prompt: str = CAPTION_PROMPTS["caption"],
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Any,
    ) -> list[str]:
        """Answers ``prompt`` about each image (task MM).

        Args:
            images: one or several: paths, PIL images, HWC arrays or tensors.
            prompt: the question.
            on_text: called with (image number, new text).
            on_token: called with (image number, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: images answered at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            One answer an image.
        """
        config = GenerationConfig.for_task(Task.MM, **options)
        ids = self._ids(Conversation().user(prompt), Task.MM)
        answers: list[str] = []
        for start, chunk in _chunks(_as_list(images), batch_rows):
            prompts = [Prompt(ids, image) for image in self._encode([to_pil(image) for image in chunk], Task.MM)]
            said = self._say(prompts, Task.MM, config, start, on_text, on_token, cancelled)
            answers += [text for text, _ in said]
        return answers

    def ground(
        self,
        images: AnyImage | Sequence[AnyImage],
        phrases: str | Sequence[str],
        *,
        threshold: float = 0.0,
        **options: Any,
    ) -> list[list[Detection]]:
        """Finds phrases in images (task G).

        Args:
            images: one or several.
            phrases: what to look for; every phrase in every image.
            threshold: drops boxes with a lower score.
            **options: those of :meth:`ground_answers`.

        Returns:
            For each image its detections, phrase by phrase, in pixels of that image, labelled with their phrase.
        """
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
        batch_rows: int = BATCH_ROWS,
        **options: Any,
    ) -> list[list[GroundingAnswer]]:
        """Like :meth:`ground`, with each phrase's raw answer.

        Args:
            images: one or several.
            phrases: what to look for. Phrases on one image share its vision pass and the front of the prompt.
            grammar: hold every answer to ``[x1,y1,x2,y2]; …``; without it the model says what it likes, and what cannot
                be read gives no box.
            several: allow several boxes a phrase (with the grammar).
            on_token: called with (row, token id), rows counted image by image and phrase by phrase.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: answers written at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            For each image an answer a phrase.

        Raises:
            InputError: no phrase, or an empty one.
        """
        wanted = [phrases] if isinstance(phrases, str) else list(phrases)
        if not wanted:
            raise InputError("There is no phrase to look for. Give at least one.")
        config = GenerationConfig.for_task(Task.G, **options)
        questions = [self._ids(Conversation().user(grounding_question(phrase)), Task.G) for phrase in wanted]
        constraint = grammar_for(self.tokenizer, self.model.config.vocab_size, self.eos, several) if grammar else None
        pictures = [to_pil(image) for image in _as_list(images)]
        flat: list[GroundingAnswer] = []
        rows = [(picture, number) for picture in pictures for number in range(len(wanted))]
        for start, chunk in _chunks(rows, batch_rows):
            seen = list({id(picture): picture for picture, _ in chunk}.values())
            encoded = dict(zip(map(id, seen), self._encode(seen, Task.G), strict=True))
            prompts = [Prompt(questions[number], encoded[id(picture)]) for picture, number in chunk]
            said = self._say(prompts, Task.G, config, start, None, on_token, cancelled, constraint)
            for (picture, number), (_, answer) in zip(chunk, said, strict=True):
                pieces = token_texts(self.tokenizer, answer.ids)
                flat.append(read_answer(wanted[number].strip(), pieces, answer.logprobs, picture.size))
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
        **options: Any,
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
        picture = to_pil(image) if image is not None and task.sees else None
        encoded = self._encode([picture], task)[0] if picture is not None else None
        ids = self._ids(conversation, task, image=picture is not None)
        said = self._say([Prompt(ids, encoded)], task, config, 0, on_text, on_token, cancelled)
        text, answer = said[0]
        if task is not Task.G or picture is None:
            return Reply(text)
        asked = asked_phrase(conversation.messages[-1].content)
        read = read_answer(asked, token_texts(self.tokenizer, answer.ids), answer.logprobs, picture.size)
        return Reply(text, read.detections)

    def prompt_length(self, conversation: Conversation, task: Task | str, image: bool) -> int:
        """Tokens of a conversation as the prompt of ``task``, the image's patches counted."""
        sees = image and Task.parse(task).sees
        ids = conversation.encode(self.tokenizer, task, image=sees)
        return len(ids) + (self.model.num_image_tokens - 1 if sees else 0)

    # Steps -----------------------------------------------------------------------------------------------------------

    def _ids(self, conversation: Conversation, task: Task, *, image: bool = True) -> tuple[int, ...]:
        ids = tuple(conversation.encode(self.tokenizer, task, image=image))
        vocabulary = self.model.config.vocab_size
        if max(ids) >= vocabulary:
            raise CheckpointError(
                f"The tokenizer gives the token {max(ids)}, but the model knows {vocabulary}. Use the tokenizer.json "
                "that came with the checkpoint."
            )
        return ids

    def _encode(self, images: Sequence[Image.Image], task: Task) -> list[Tensor]:
        vision = self.model.vision
        pixels = preprocess(images, vision.image_size, vision.image_mean, vision.image_std)
        return list(self.model.project(self.vision_cache.features(pixels), task))

    def _say(
        self,
        prompts: Sequence[Prompt],
        task: Task,
        config: GenerationConfig,
        first_row: int,
        on_text: OnText,
        on_token: OnToken,
        cancelled: Cancel,
        constraint: Constraint | None = None,
    ) -> list[tuple[str, Answer]]:
        streams = [TextStream(self.tokenizer, config.stop) for _ in prompts]

        def listen(row: int, token: int) -> bool:
            if on_token is not None:
                on_token(first_row + row, token)
            if config.num_beams == 1:
                piece = streams[row].push(token)
                if piece and on_text is not None:
                    on_text(first_row + row, piece)
            return streams[row].stopped

        answers = self.model.answer(
            prompts, task, config, [self.eos], constraint=constraint, on_token=listen, cancelled=cancelled
        )
        for row, (stream, answer) in enumerate(zip(streams, answers, strict=True)):
            # Beams change their minds, so their text is read at the end.
            rest = stream.read(answer.ids) if config.num_beams > 1 else stream.finish()
            if rest and on_text is not None:
                on_text(first_row + row, rest)
        return [(stream.text, answer) for stream, answer in zip(streams, answers, strict=True)]


def _as_list(images: AnyImage | Sequence[AnyImage]) -> list[AnyImage]:
    if isinstance(images, (list, tuple)):
        return list(images)
    return [images]  # type: ignore[list-item]


def _chunks(items: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    if size < 1:
        raise InputError(f"batch_rows is {size}; it must be at least 1.")
    for start in range(0, len(items), size):
        yield start, items[start : start + size]

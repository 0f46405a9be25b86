"""Captions and boxes of one batch of pictures; a picture that cannot be used gets a record that says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..boxes.grounding import read_answer
from ..config import GenerationConfig, Task
from ..errors import InputError
from ..generation.grammar import grammar_for
from ..images.load import load_image
from ..jobs.asking import Question, ask
from ..jobs.job import Row
from ..pipeline.local import BATCH_ROWS, IAAPipeline
from ..pipeline.remote import RemotePipeline
from ..text.conversation import Conversation, grounding_question
from .sources import Listed

SCORE_DIGITS = 4
"""Decimals of a score that are written: more would differ between machines."""


@dataclass(frozen=True)
class AnnotateSettings:
    """What is asked about every picture.

    Attributes:
        prompt: the question that captions answer; None for no captions.
        phrases: what to look for in every picture, before the phrases that a list gives for one.
        ground: whether boxes are wanted; phrases may come from the list alone.
        threshold: drops boxes with a lower score.
        several: allow several boxes a phrase.
        batch: pictures, and answers, worked on at once.
        generation: fields of :class:`GenerationConfig`.
    """

    prompt: str | None = None
    phrases: tuple[str, ...] = ()
    ground: bool = False
    threshold: float = 0.0
    several: bool = True
    batch: int = BATCH_ROWS
    generation: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prompt is None and not self.ground:
            raise InputError("There is nothing to do: ask for captions, for phrases, or for both.")
        if self.prompt is not None and not self.prompt.strip():
            raise InputError("The prompt for captions is empty.")
        if self.batch < 1:
            raise InputError(f"The batch is {self.batch}; it must be at least 1.")
        GenerationConfig.for_task(Task.MM, **self.generation)  # complains now, not at the first picture
        if GenerationConfig.for_task(Task.G, **self.generation).num_beams > 1 and self.ground:
            raise InputError("Beam search does not go together with the grammar of boxes. Use it for captions alone.")
        for phrase in self.phrases:
            grounding_question(phrase)


def load(row: Row) -> Image.Image | InputError:
    """Reads the picture of an item, or says why it cannot be read.

    Raises:
        InputError: its folder is gone, so that the disk rather than the picture is at fault.
    """
    listed = Listed.from_row(row)
    try:
        return load_image(listed.path)
    except InputError as error:
        folder = Path(listed.path).parent
        if not folder.is_dir():
            raise InputError(
                f"The folder {folder} of {listed.name} is not there. Is its disk connected? What is finished is kept; "
                "run the same command again."
            ) from error
        return InputError(str(error).replace(listed.path, listed.name))


class Annotator:
    """Makes records of pictures.

    Args:
        pipeline: who answers.
        settings: what is asked.

    Raises:
        InputError: a question that does not fit into the context.
    """

    def __init__(self, pipeline: IAAPipeline | RemotePipeline, settings: AnnotateSettings) -> None:
        self.pipeline, self.settings = pipeline, settings
        self._caption = GenerationConfig.for_task(Task.MM, **settings.generation)
        self._ground = GenerationConfig.for_task(Task.G, **settings.generation)
        # What is asked of all pictures has to fit, or each of them would fail alike.
        for text, task in self._common():
            if pipeline.prompt_length(Conversation().user(text), task, image=True) >= pipeline.context:
                raise InputError(
                    f"{text[:60]!r} … does not fit into the context of {pipeline.context} tokens. Shorten it."
                )
        if settings.ground and isinstance(pipeline, IAAPipeline):
            model = pipeline.model
            grammar = grammar_for(pipeline.tokenizer, model.config.vocab_size, pipeline.eos, settings.several)
            grammar.start(torch.tensor([self._ground.max_new_tokens]))

    def _common(self) -> list[tuple[str, Task]]:
        captions = [(self.settings.prompt, Task.MM)] if self.settings.prompt is not None else []
        return [*captions, *((grounding_question(phrase), Task.G) for phrase in self.settings.phrases)]

    def forget(self) -> None:
        """Drops features of pictures seen before: with them, a picture that comes twice would be batched otherwise."""
        if isinstance(self.pipeline, IAAPipeline):
            self.pipeline.vision_cache.clear()

    def annotate(self, rows: list[Row], pictures: list[Image.Image | InputError]) -> list[Row]:
        """Returns a record for each item of a batch, in order.

        A record holds ``image`` (and ``id``), and either ``width``, ``height``, ``caption`` and ``detections`` as far
        as they were asked for, or ``error``.
        """
        records = [_named(row) for row in rows]
        good: list[int] = []
        for number, picture in enumerate(pictures):
            if isinstance(picture, Image.Image):
                good.append(number)
            else:
                records[number]["error"] = str(picture)
        try:
            self._fill([(records[n], rows[n], pictures[n]) for n in good])
        except InputError:
            # One question was too long or empty; each alone tells which.
            for n in good:
                records[n] = _named(rows[n])
                try:
                    self._fill([(records[n], rows[n], pictures[n])])
                except InputError as error:
                    if not Listed.from_row(rows[n]).phrases:
                        raise  # what is asked of every picture is at fault: all of them would fail alike
                    records[n] = _named(rows[n]) | {"error": str(error)}
        return records

    def _fill(self, batch: list[tuple[Row, Row, Any]]) -> None:
        """Adds what was asked for to the records of (record, item, picture)."""
        for record, _, picture in batch:
            record["width"], record["height"] = picture.size
        if self.settings.prompt is not None:
            questions = [Question(picture, self.settings.prompt) for _, _, picture in batch]
            answers = ask(self.pipeline, questions, Task.MM, self._caption, batch_rows=self.settings.batch)
            for (record, _, _), answer in zip(batch, answers, strict=True):
                record["caption"] = answer.text
        if self.settings.ground:
            self._find(batch)

    def _find(self, batch: list[tuple[Row, Row, Any]]) -> None:
        wanted = [
            (record, picture, phrase)
            for record, row, picture in batch
            for phrase in dict.fromkeys((*self.settings.phrases, *Listed.from_row(row).phrases))
        ]
        answers = ask(
            self.pipeline,
            [Question(picture, grounding_question(phrase)) for _, picture, phrase in wanted],
            Task.G,
            self._ground,
            grammar=True,
            several=self.settings.several,
            batch_rows=self.settings.batch,
        )
        for record, _, _ in batch:
            record["detections"] = []
        for (record, picture, phrase), answer in zip(wanted, answers, strict=True):
            found = read_answer(phrase.strip(), answer.pieces, answer.logprobs, picture.size).detections
            record["detections"] += [
                d.to_dict() | {"score": round(d.score, SCORE_DIGITS)}
                for d in found
                if d.score >= self.settings.threshold
            ]


def _named(row: Row) -> Row:
    return {name: row[name] for name in ("image", "id") if name in row}

"""Makes the records of a batch of pictures: captions and boxes, or the reason why there are none."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..boxes.grounding import parse_answer
from ..config import BATCH_ROWS, GenerationConfig, Task
from ..errors import CutOffError, IAAError, InputError, NoAnswerError
from ..jobs.job import Row
from ..pipeline.base import Pipeline, Question, Request
from ..text.conversation import Conversation
from ..text.prompts import distinct_phrases, filled, grounding_question, picture_fields
from .listed import Listed

SCORE_DIGITS = 4
"""Decimals of a score in a record: more would differ between machines."""


@dataclass(frozen=True)
class AnnotateSettings:
    """What to ask about every picture.

    Attributes:
        prompt: the question that captions answer; ``{name}`` and ``{folder}`` stand for those of the picture's file.
            None for no captions.
        phrases: what to find in every picture, likewise; phrases that a list gives for a single picture follow them.
        ground: whether to find boxes; all phrases may come from the list.
        threshold: boxes with a lower score are dropped; None is the model's own.
        several: allow several boxes a phrase.
        batch: pictures, and questions, computed at once.
        generation: fields of :class:`GenerationConfig`; ``format`` is that of captions.
    """

    prompt: str | None = None
    phrases: tuple[str, ...] = ()
    ground: bool = False
    threshold: float | None = None
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
        self.config(Task.MM)  # raises now, not at the first picture
        if self.generation.get("format") and self.prompt is None:
            raise InputError("A format is that of captions, and none are asked for. Ask for them, or leave it out.")
        if self.config(Task.G).num_beams > 1 and self.ground:
            raise InputError("Beam search does not go together with the grammar of boxes. Use it for captions alone.")
        for phrase in self.phrases:
            grounding_question(phrase)

    def config(self, task: Task) -> GenerationConfig:
        """How a task answers; boxes have a grammar of their own in place of a format."""
        without = {"format"} if task is Task.G else set()
        return GenerationConfig.for_task(task, **{k: v for k, v in self.generation.items() if k not in without})


def load_picture(row: Row) -> Image.Image | InputError:
    """Opens an item's picture, or returns the error that says why it cannot be opened.

    Raises:
        InputError: its folder is gone, so the disk rather than the picture is at fault.
        MemoryError: there is no room for it; it may be fine.
    """
    listed = Listed.from_row(row)
    try:
        return listed.load()
    except MemoryError as error:
        raise MemoryError(f"for the picture {listed.name}") from error
    except InputError as error:
        folder = os.path.dirname(listed.file)
        if not os.path.isdir(folder):
            raise InputError(
                f"The folder {folder} of {listed.name} is not there. Is its disk connected? What is finished is kept; "
                "run the same command again."
            ) from error
        return error


class Annotator:
    """Makes records of pictures.

    Args:
        pipeline: answers the questions.
        settings: what to ask.

    Attributes:
        threshold: boxes with a lower score are dropped.

    Raises:
        InputError: a question for every picture does not fit into the context.
    """

    def __init__(self, pipeline: Pipeline, settings: AnnotateSettings) -> None:
        self.pipeline, self.settings = pipeline, settings
        self.threshold = pipeline.score_threshold if settings.threshold is None else settings.threshold
        captions, boxes = settings.config(Task.MM), settings.config(Task.G)
        self._caption = Request(Task.MM, captions, batch_rows=settings.batch)
        self._ground = Request(Task.G, boxes, grammar=True, several=settings.several, batch_rows=settings.batch)
        # A question for every picture has to fit, or all of them would fail alike.
        for text, task in self._shared_questions():
            if pipeline.prompt_length(Conversation().user(text), task, image=True) >= pipeline.context:
                raise InputError(
                    f"{text[:60]!r} … does not fit into the context of {pipeline.context} tokens. Shorten it."
                )
        if settings.ground:
            pipeline.check_box_budget(boxes, settings.several)

    def check_tasks(self) -> None:
        """Raises what :meth:`Pipeline.check_task` does for the tasks that are asked."""
        for task in (Task.MM,) * (self.settings.prompt is not None) + (Task.G,) * self.settings.ground:
            self.pipeline.check_task(task)

    def _shared_questions(self) -> list[tuple[str, Task]]:
        captions = [(self.settings.prompt, Task.MM)] if self.settings.prompt is not None else []
        return [*captions, *((grounding_question(phrase), Task.G) for phrase in self.settings.phrases)]

    def annotate(self, rows: list[Row], pictures: list[Image.Image | InputError]) -> list[Row]:
        """Returns a record for each item of a batch, in order.

        A record holds ``image`` (and ``id``), and either ``width``, ``height`` and what the settings ask for
        (``caption``; ``phrases`` that were looked for, and ``detections``), or ``error``: why there is no answer about
        this picture although there are about others.

        Raises:
            IAAError: there is no answer about any picture.
        """
        records = [_new_record(row) for row in rows]
        good: list[int] = []
        for number, picture in enumerate(pictures):
            if isinstance(picture, Image.Image):
                good.append(number)
            else:
                records[number]["error"] = str(picture)
        try:
            self._fill([(records[n], rows[n], pictures[n]) for n in good])
        except IAAError:
            # Asking about one picture at a time finds which one is refused.
            self._check_any_is_answered()
            for n in good:
                records[n] = self._alone(rows[n], pictures[n])
        return records

    def _alone(self, row: Row, picture: Any) -> Row:
        """The record of one picture, be it that there is no answer about it."""
        record = _new_record(row)
        try:
            self._fill([(record, row, picture)])
        except IAAError as error:
            self._check_any_is_answered()
            why = error.among_others if isinstance(error, NoAnswerError) else str(error)
            return _new_record(row) | {"error": why}
        return record

    def _check_any_is_answered(self) -> None:
        """Raises what asking about a grey picture raises: then no picture is at fault, and all would fail alike."""
        phrases = self.settings.phrases or ("anything",)
        row = {"image": "grey/grey", "path": "grey/grey", "phrases": phrases}
        with suppress(CutOffError):  # another picture's answer may end in time
            self._fill([({}, row, Image.new("RGB", (64, 64), "grey"))])

    def _fill(self, batch: list[tuple[Row, Row, Any]]) -> None:
        """Adds captions and detections to the records of a batch of (record, item, picture)."""
        for record, _, picture in batch:
            record["width"], record["height"] = picture.size
        if self.settings.prompt is not None:
            prompt = self.settings.prompt
            questions = [Question.about(picture, filled(prompt, _fields(row))) for _, row, picture in batch]
            answers = self.pipeline.answer(questions, self._caption)
            for (record, _, _), answer in zip(batch, answers, strict=True):
                record["caption"] = answer.text
        if self.settings.ground:
            self._find(batch)

    def _phrases(self, row: Row) -> list[str]:
        """What to find in a picture, each once."""
        fields = _fields(row)
        asked = (*(filled(p, fields) for p in self.settings.phrases), *Listed.from_row(row).phrases)
        return distinct_phrases(phrase.strip() for phrase in asked)

    def _find(self, batch: list[tuple[Row, Row, Any]]) -> None:
        for record, row, _ in batch:
            record["phrases"], record["detections"] = self._phrases(row), []
        wanted = [(record, picture, phrase) for record, _, picture in batch for phrase in record["phrases"]]
        questions = [Question.about(picture, grounding_question(phrase)) for _, picture, phrase in wanted]
        answers = self.pipeline.answer(questions, self._ground)
        for (record, picture, phrase), answer in zip(wanted, answers, strict=True):
            found = parse_answer(phrase, answer.tokens, answer.logprobs, picture.size).detections
            record["detections"] += [
                d.to_dict() | {"score": round(d.score, SCORE_DIGITS)} for d in found if d.score >= self.threshold
            ]


def _fields(row: Row) -> dict[str, str]:
    """What questions may say of an item's picture."""
    return picture_fields(Listed.from_row(row).path)


def is_record(row: Row) -> bool:
    """Whether it has the fields of what :meth:`Annotator.annotate` makes, each of its kind."""
    boxes = row.get("detections", [])
    texts = [row.get("image"), *(row[name] for name in ("id", "caption", "error") if name in row)]
    sizes = [] if "error" in row else [row.get("width"), row.get("height")]
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        return False
    if not isinstance(phrases := row.get("phrases", []), list):
        return False
    texts += phrases
    for box in boxes:
        texts.append(box.get("label"))
        sizes += [box.get(name) for name in ("x", "y", "width", "height")]
        if not isinstance(box.get("score"), float):
            return False
    return all(isinstance(text, str) for text in texts) and all(type(size) is int for size in sizes)


def has_failed(record: Row) -> bool:
    """Whether it says why there is no answer about its picture."""
    return "error" in record


def reason(record: Row) -> str:
    """Why there is no answer about a failed record's picture, which it names."""
    name, why = record["image"], record["error"]
    return why if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", why) else f"{name}: {why}"


def _new_record(row: Row) -> Row:
    return {name: row[name] for name in ("image", "id") if name in row}

"""Answers a benchmark's questions as a job, which can be killed, resumed, and spread over processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..config import BATCH_ROWS, GenerationConfig, Task
from ..errors import InputError
from ..images.load import load_image
from ..images.names import path_in_list
from ..jobs.files import json_line
from ..jobs.job import Job, Row
from ..jobs.process_group import ProcessGroup
from ..jobs.progress import Progress
from ..jobs.run import run_job
from ..jobs.start import open_job
from ..pipeline.base import Pipeline, Question, Request
from ..text.prompts import grounding_question
from .mme import Answer
from .mme_questions import MmeQuestion
from .refcoco import Target

SHARD_BATCHES = 4
"""Batches in a shard: what a process computes at a time."""
MAX_NEW_TOKENS = 128
"""As in the published evaluation of both benchmarks."""


@dataclass(frozen=True)
class EvalSettings:
    """How to answer the questions.

    Attributes:
        batch: questions at once.
        grammar: force answers of task G to be boxes; the published evaluation does not.
        generation: fields of :class:`GenerationConfig`.
        dry_run: answer nothing and write nothing; the job is as it would begin.
    """

    batch: int = BATCH_ROWS
    grammar: bool = False
    generation: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False

    def config(self, task: Task) -> GenerationConfig:
        """The settings of decoding; 128 new tokens by default."""
        return GenerationConfig.for_task(task, **{"max_new_tokens": MAX_NEW_TOKENS} | self.generation)


def check_pictures(targets: Mapping[int | str, Target], images: Path) -> None:
    """Raises :class:`InputError` where pictures of the annotations are not in their folder."""
    missing = sorted({t.img_path for t in targets.values() if not os.path.isfile(path_in_list(images, t.img_path))})
    if missing:
        raise InputError(
            f"{len(missing)} pictures of the annotations are not in {images}: {', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}. Check --images."
        )


def answer_refcoco(
    pipeline: Pipeline,
    targets: Mapping[int | str, Target],
    images: Path,
    parts: Path,
    settings: EvalSettings | None = None,
    group: ProcessGroup | None = None,
) -> Job:
    """Asks for the box of every expression, as the published evaluation words it (without the full stop).

    Args:
        pipeline: answers the questions.
        targets: the annotations.
        images: the folder of the pictures.
        parts: the job's folder.
        settings: how to answer.
        group: the processes that share the job.

    Returns:
        The finished job; its records are predictions.

    Raises:
        InputError: pictures are missing, unreadable or of another size than in the annotations.
    """
    check_pictures(targets, images)
    rows = [
        {
            "question_id": target.sent_id,
            "prompt": target.expression,
            "ask": grounding_question(target.expression, full_stop=False),
            "path": str(path_in_list(images, target.img_path)),
            "size": list(target.size),
        }
        for target in targets.values()
    ]
    return _answer(pipeline, rows, ("question_id", "prompt"), Task.G, parts, settings, group)


def answer_mme(
    pipeline: Pipeline,
    questions: Iterable[MmeQuestion],
    parts: Path,
    settings: EvalSettings | None = None,
    group: ProcessGroup | None = None,
) -> Job:
    """Asks MME's questions; the finished job's records have the fields of :class:`Answer` and ``category``."""
    rows = [
        {
            "category": q.category,
            "image": q.image,
            "question": q.question,
            "truth": q.truth,
            "ask": q.text,
            "path": q.path,
        }
        for q in questions
    ]
    return _answer(pipeline, rows, ("category", "image", "question", "truth"), Task.MM, parts, settings, group)


def mme_results(job: Job) -> dict[str, list[Answer]]:
    """The answers of a finished job by category."""
    results: dict[str, list[Answer]] = {}
    for record in job.records():
        answer = Answer(record["image"], record["question"], record["truth"], record["text"])
        results.setdefault(record["category"], []).append(answer)
    return results


def _answer(
    pipeline: Pipeline,
    rows: list[Row],
    kept: tuple[str, ...],
    task: Task,
    parts: Path,
    settings: EvalSettings | None,
    group: ProcessGroup | None,
) -> Job:
    settings, group = settings or EvalSettings(), group or ProcessGroup()
    request = Request(task, settings.config(task), grammar=settings.grammar, batch_rows=settings.batch)
    job_settings = {
        **pipeline.identity(),
        "task": task.value,
        "questions": _digest(rows, kept),
        "grammar": settings.grammar,
        "generation": settings.generation,
    }

    def checked() -> list[Row]:
        if not settings.dry_run:
            pipeline.check_task(task)
        if request.grammar:
            pipeline.check_box_budget(request.config, request.several)
        return rows

    def is_record(record: Row) -> bool:
        return isinstance(record.get("text"), str) and all(name in record for name in kept)

    size = SHARD_BATCHES * max(BATCH_ROWS, settings.batch)  # a job may go on with a smaller batch
    batch, dry_run = settings.batch, settings.dry_run
    job, _ = open_job(parts, job_settings, checked, size, batch, group=group, is_record=is_record, dry_run=dry_run)
    if dry_run:
        return job

    def work(batch: list[Row], pictures: list[Image.Image]) -> list[Row]:
        # Questions on one picture share its pass through the tower.
        same = {row["path"]: picture for row, picture in zip(batch, pictures, strict=True)}
        questions = [Question.about(same[row["path"]], row["ask"]) for row in batch]
        answers = pipeline.answer(questions, request)
        return [
            {name: row[name] for name in kept} | {"text": answer.text}
            for row, answer in zip(batch, answers, strict=True)
        ]

    progress = Progress(job.count, job.done(), "questions") if group.is_main else None
    run_job(job, _load_picture, work, group, pipeline.forget_pictures, progress)
    return job


def _load_picture(row: Row) -> Image.Image:
    picture = load_image(row["path"])
    size = tuple(row.get("size", picture.size))
    if size != picture.size:
        raise InputError(
            f"{row['path']} has {picture.width} x {picture.height} pixels, but its annotation says "
            f"{size[0]} x {size[1]}. Is it the right picture?"
        )
    return picture


def _digest(rows: list[Row], kept: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json_line([row["ask"], *(row[name] for name in kept)]))
    return digest.hexdigest()[:16]

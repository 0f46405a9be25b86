"""Answers the questions of a benchmark, as a job that may be killed and spread over processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..config import GenerationConfig, Task
from ..errors import InputError
from ..images.load import load_image
from ..jobs.asking import Question, ask
from ..jobs.files import json_line
from ..jobs.fingerprint import identify
from ..jobs.job import Job, Row, open_job
from ..jobs.process_group import Team
from ..jobs.progress import Progress
from ..jobs.run import run_job
from ..pipeline.local import BATCH_ROWS, IAAPipeline
from ..pipeline.remote import RemotePipeline
from ..text.conversation import grounding_question
from .mme import Answer
from .mme_questions import MmeQuestion
from .refcoco import Target

SHARD_BATCHES = 4
"""Batches in a shard: what a kill can cost, and what is handed out to processes at once."""
MAX_NEW_TOKENS = 128
"""As in the published evaluation of both benchmarks."""


@dataclass(frozen=True)
class EvalSettings:
    """How questions are answered.

    Attributes:
        batch: questions at once.
        grammar: hold answers of the G task to boxes; the published evaluation does not.
        generation: fields of :class:`GenerationConfig`.
    """

    batch: int = BATCH_ROWS
    grammar: bool = False
    generation: dict[str, Any] = field(default_factory=dict)

    def config(self, task: Task) -> GenerationConfig:
        """The settings of decoding, 128 new tokens unless told otherwise."""
        given = {name: value for name, value in self.generation.items() if value is not None}
        return GenerationConfig.for_task(task, **{"max_new_tokens": MAX_NEW_TOKENS} | given)


def answer_refcoco(
    pipeline: IAAPipeline | RemotePipeline,
    targets: Mapping[int | str, Target],
    images: Path,
    parts: Path,
    settings: EvalSettings | None = None,
    team: Team | None = None,
) -> Job:
    """Asks for the box of every expression, in the words of the published evaluation (without the full stop).

    Args:
        pipeline: who answers.
        targets: the annotations.
        images: where the pictures are.
        parts: the job's folder.
        settings: how.
        team: the processes that share it.

    Returns:
        The finished job; its records are predictions.

    Raises:
        InputError: pictures are missing, unreadable or of another size than the annotations say.
    """
    missing = sorted({target.img_path for target in targets.values() if not (images / target.img_path).is_file()})
    if missing:
        raise InputError(
            f"{len(missing)} pictures of the annotations are not in {images}: {', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}. Check --images."
        )
    rows = [
        {
            "question_id": target.sent_id,
            "prompt": target.expression,
            "ask": grounding_question(target.expression, full_stop=False),
            "path": str(images / target.img_path),
            "size": list(target.size),
        }
        for target in targets.values()
    ]
    return _answer(pipeline, rows, ("question_id", "prompt"), Task.G, parts, settings, team)


def answer_mme(
    pipeline: IAAPipeline | RemotePipeline,
    questions: Iterable[MmeQuestion],
    parts: Path,
    settings: EvalSettings | None = None,
    team: Team | None = None,
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
    return _answer(pipeline, rows, ("category", "image", "question", "truth"), Task.MM, parts, settings, team)


def mme_results(job: Job) -> dict[str, list[Answer]]:
    """The answers of a finished job by category."""
    results: dict[str, list[Answer]] = {}
    for record in job.records():
        answer = Answer(record["image"], record["question"], record["truth"], record["text"])
        results.setdefault(record["category"], []).append(answer)
    return results


def _answer(
    pipeline: IAAPipeline | RemotePipeline,
    rows: list[Row],
    kept: tuple[str, ...],
    task: Task,
    parts: Path,
    settings: EvalSettings | None,
    team: Team | None,
) -> Job:
    settings, team = settings or EvalSettings(), team or Team()
    config = settings.config(task)
    decides = {
        **identify(pipeline),
        "task": task.value,
        "questions": _digest(rows, kept),
        "batch": settings.batch,
        "grammar": settings.grammar,
        "generation": {name: value for name, value in settings.generation.items() if value is not None},
    }
    job, _ = open_job(parts, decides, lambda: rows, SHARD_BATCHES * settings.batch, team=team)

    def work(batch: list[Row], pictures: list[Image.Image]) -> list[Row]:
        # Questions on one picture share its pass through the tower.
        same = {row["path"]: picture for row, picture in zip(batch, pictures, strict=True)}
        questions = [Question(same[row["path"]], row["ask"]) for row in batch]
        answers = ask(pipeline, questions, task, config, grammar=settings.grammar, batch_rows=settings.batch)
        return [
            {name: row[name] for name in kept} | {"text": answer.text}
            for row, answer in zip(batch, answers, strict=True)
        ]

    progress = Progress(job.count, job.done(), "questions") if team.is_main else None
    forget = pipeline.vision_cache.clear if isinstance(pipeline, IAAPipeline) else None
    run_job(job, settings.batch, _load, work, team, forget, progress)
    return job


def _load(row: Row) -> Image.Image:
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

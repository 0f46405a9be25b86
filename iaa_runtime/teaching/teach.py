"""Teaching from start to end: examples are looked at, learned from, and what came of it is written and scored.

Beside the adaptor's file, a run keeps a folder ``NAME.parts`` until it is done: the lessons, the state of the last
saved step, the curve. The same call goes on from there, and ends in the same file as if it had never been broken off.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ..adaptors.base import base_fingerprint
from ..adaptors.file import Adaptor, phrases_to_name, read_adaptor, write_adaptor
from ..config import Task
from ..config.teaching import TeachSettings
from ..errors import Cancel, Cancelled, InputError
from ..jobs.files import json_line, read_torn_jsonl, write_bytes
from ..jobs.process_group import ProcessGroup
from ..pipeline.local import IAAPipeline
from .batches import run_rows
from .examples import Example, by_picture, checked, split
from .files import RunFiles
from .identity import begin, identity_of, short_digest
from .kept import load_lessons, save_lessons
from .lesson import Lesson, box_overlaps, rows_loss
from .lessons import Lessons, Row, write_lessons
from .loop import Files, HeldOut, Schedule, Watch, train
from .pages import answer_sheet, box_sheet, draw_curve, write_png
from .pointing import looking_heads
from .replay import remember
from .results import RUN, Taught, read_results
from .scores import answer_prompts, find_boxes, summarize_answers, summarize_boxes
from .updates import LowRankUpdates

MOST_VIEWS = 2048
"""Of all pictures together, each with what the tower makes of it: 1.2 MB at CLIP-L size. Of 1,000 captions thirteen
views a picture taught no more than two."""
VIEWS_OF_ONE = 64
"""The most of one picture."""
HELD_OUT_VIEWS, MOST_HELD_OUT_VIEWS = 4, 256
"""Of one picture that is held out, and of all together: they are asked every ``REPORT_EVERY`` steps."""
TAUGHT_A_VIEW = 4
"""Questions about one view in a step, of what is new."""
REPLAYED, REPLAYED_A_VIEW = 1536, 4
"""Answers of the model as it was: in all, and about one view."""
MOST_VIEWS_ASKED, MOST_ANSWERS_LOOKED_AT = 8, 16
"""At once; as few as a step has where that has fewer, so that nothing takes more memory than a step."""
LEAST_REPLAYED = 64
"""Of the shortest runs: heads that look at things are found by them."""
LARGE = 1024
"""Hidden size from which on activations are computed again in the backward pass instead of being kept."""
REPORT_EVERY = 50

OnProgress = Callable[[str, int, int], object]
"""Called with (what is counted, how many are done, how many there are)."""


def teach(
    pipeline: IAAPipeline,
    examples: Sequence[Example],
    settings: TeachSettings,
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
    cancelled: Cancel = None,
    group: ProcessGroup | None = None,
) -> Taught:
    """Teaches a model and writes the adaptor's file, its curve, and a sheet of held-out pictures.

    Args:
        pipeline: of :func:`.frozen.open_frozen`; its adaptors are left as they are and not in use.
        examples: what to learn.
        settings: how.
        out: the adaptor's file.
        overwrite: replace files of an earlier run, and an unfinished run that has other settings.
        on_progress: hears how far it is.
        cancelled: True raises :class:`Cancelled`; what was learned so far is kept, and the same call goes on with it.
            Several processes have to be told at the same step.
        group: the processes that share the pictures of each step, all with this call; the first writes. This one alone
            when None.

    Raises:
        InputError: an example is not usable, which names its row; or a file cannot be written, or an unfinished run
            beside it has other settings, or another is under way; or there are more processes than pictures a step.
    """
    files, group = RunFiles(out), group or ProcessGroup()
    check_processes(settings, group)
    files.check(overwrite=overwrite)
    right = checked(examples, settings.task, cancelled)
    learned, held = split(right, settings)
    identity = identity_of(pipeline, right, settings, cancelled)
    group.barrier()  # before the first writes, the others have looked at what is there
    phrases = phrases_to_name(example.asked for example in right)
    with files.under_way() if group.is_main else nullcontext():
        if group.is_main:
            files.check(overwrite=overwrite)  # another run may have ended while the pictures were looked at
            begin(files, identity, overwrite=overwrite)
        return _run(pipeline, learned, held, phrases, settings, files, identity, on_progress, cancelled, group)


def _run(
    pipeline: IAAPipeline,
    learned: Sequence[Example],
    held: Sequence[Example],
    phrases: tuple[str, ...],
    settings: TeachSettings,
    files: RunFiles,
    identity: Mapping[str, Any],
    on_progress: OnProgress,
    cancelled: Cancel,
    group: ProcessGroup,
) -> Taught:
    """A run that is begun, from wherever it is to its end."""
    # A host may have switched gradients off for all that it runs.
    with torch.inference_mode(False), torch.enable_grad(), pipeline.adaptors.using():
        if not group.is_main:
            group.barrier()  # what the first has made is read
            if not files.settings.is_file():
                raise _not_shared(files.adaptor)
        lessons = _lessons(pipeline, learned, settings, files.lessons[0], "learned", on_progress, cancelled)
        tests = None
        if held:
            tests = _lessons(pipeline, held, settings, files.lessons[1], "held out", on_progress, cancelled)
        if group.is_main:
            group.barrier()
        state, best = _learn(pipeline, lessons, tests, settings, files, on_progress, cancelled, group)
    group.barrier()  # before the first removes what a run that goes on after its last step still reads
    if not group.is_main:
        group.barrier()
        return read_results(files, read_adaptor(files.adaptor), settings)
    adaptor = Adaptor(
        settings.task,
        settings.rank,
        float(settings.rank),
        base_fingerprint(pipeline.model.checkpoint, settings.task),
        state,
        phrases,
        _noted(settings, learned, held, best) | {RUN: short_digest(identity)},
    )
    taught = _finish(pipeline, adaptor, held, files, best, on_progress, cancelled)
    group.barrier()
    return taught


def check_processes(settings: TeachSettings, group: ProcessGroup) -> None:
    """Raises :class:`InputError` if there are more processes than pictures a step."""
    if settings.batch < group.world_size:
        raise InputError(
            f"{group.world_size} processes cannot share {settings.batch} pictures a step. Launch {settings.batch} or "
            f"fewer, or take more pictures a step (--batch {group.world_size})."
        )


def _not_shared(out: Path) -> InputError:
    return InputError(
        f"What the first process wrote is not in {out.parent}. Give all of them one folder that they share."
    )


def _noted(settings: TeachSettings, learned: Sequence[Example], held: Sequence[Example], best: int) -> dict[str, Any]:
    """The settings as the adaptor's file keeps them."""
    counts = {"pictures": len(by_picture(learned)), "held_out_pictures": len(by_picture(held))}
    counts["phrases"] = len({example.asked for example in (*learned, *held)})
    return asdict(settings) | {"task": settings.task.value, "kept_step": best} | counts


def _lessons(
    pipeline: IAAPipeline,
    examples: Sequence[Example],
    settings: TeachSettings,
    path: Path,
    what: str,
    on_progress: OnProgress,
    cancelled: Cancel,
) -> Lessons:
    """The lessons of examples, from the run's folder if they are there."""
    if path.exists():
        return load_lessons(path)
    pictures, seed = by_picture(examples), settings.seed
    # A short run draws so many rows alone; more would be looked at and asked about for nothing.
    drawn = settings.steps * settings.batch
    answers = min(REPLAYED, max(LEAST_REPLAYED, drawn))
    if what == "held out":
        if len(pictures) > MOST_HELD_OUT_VIEWS:
            pictures = random.Random(seed).sample(pictures, MOST_HELD_OUT_VIEWS)
        views, answers = min(HELD_OUT_VIEWS, MOST_HELD_OUT_VIEWS // len(pictures)), answers // 8
    else:
        views = max(1, min(VIEWS_OF_ONE, MOST_VIEWS // len(pictures), -(-drawn // len(pictures))))
    total = views * len(pictures)
    lessons = write_lessons(
        pipeline,
        settings.task,
        pictures,
        views,
        seed,
        lambda done: on_progress(f"views, {what}", done, total),
        cancelled,
    )
    taught = list(dict.fromkeys(example.asked for example in examples))
    remember(
        pipeline,
        pipeline.model.stack(settings.task),
        lessons,
        taught,
        answers,
        REPLAYED_A_VIEW,
        seed,
        min(MOST_VIEWS_ASKED, settings.batch),
        lambda done, of: on_progress(f"views asked about, {what}", done, of),
        cancelled,
    )
    save_lessons(path, lessons)
    return lessons


def _learn(
    pipeline: IAAPipeline,
    lessons: Lessons,
    tests: Lessons | None,
    settings: TeachSettings,
    run: RunFiles,
    on_progress: OnProgress,
    cancelled: Cancel,
    group: ProcessGroup,
) -> tuple[dict[str, Any], int]:
    """Learns the updates; returns those of the best step, and that step."""
    model = pipeline.model
    model.bank("vision").requires_grad_(False)
    for bank in ("base", settings.task.stack_bank):
        model.bank(bank).requires_grad_(False)
    updates = LowRankUpdates(
        model.config, settings.task, settings.rank, float(settings.rank), settings.seed, model.device
    )
    large = model.config.hidden_size >= LARGE
    lesson = Lesson(
        lessons,
        model.project,
        settings.batch,
        taught=TAUGHT_A_VIEW,
        known=REPLAYED_A_VIEW // 2,
        steps=settings.steps,
        pointers=looking_heads(
            model.stack(settings.task), lessons, model.project, min(MOST_ANSWERS_LOOKED_AT, 2 * settings.batch)
        ),
        checkpointed=large,
        group=group,
    )
    # Muon, whose steps are all of one size, made the demo model forget: 0.74 of what it found before, and not 0.98.
    schedule = Schedule(settings.steps, None, settings.rate, warmup=min(60, max(1, settings.steps // 10)))
    watch = Watch(
        REPORT_EVERY,
        REPORT_EVERY,
        None if tests is None else lambda: held_out(pipeline, updates, tests, lesson),
        on_step=lambda done: on_progress("steps", done, settings.steps),
        cancelled=cancelled,
    )
    files = Files(run.state, run.unfinished_curve, "teach")
    progress = train(
        updates,
        lambda step, rng: lesson.loss(updates.stack(model), step, rng),
        schedule,
        files,
        watch,
        settings.seed,
        group,
    )
    if progress.step < settings.steps:
        raise Cancelled("It was cancelled; what was learned is kept, and the same call goes on with it.")
    return updates.pairs(progress.best), progress.best_step if progress.best is not None else progress.step


@torch.no_grad()
def held_out(pipeline: IAAPipeline, updates: LowRankUpdates, tests: Lessons, lesson: Lesson) -> HeldOut:
    """What lessons that are not learned from say of the updates, as at the end of training.

    A picture's loss is 1 - the mean IoU of its boxes, 0 to 1, where there are any, since cross-entropy rises when a
    model grows too sure, while its boxes still get better. Otherwise it is cross-entropy, in nats a token.
    """
    stack = updates.stack(pipeline.model)
    losses, lacking = list[float](), list[float]()
    for picture in range(0, len(tests.taught), tests.a_picture):
        of_picture, overlaps = list[float](), list[float]()
        for start in range(picture, picture + tests.a_picture, lesson.views):
            views = range(start, min(start + lesson.views, picture + tests.a_picture))
            rows = [
                row for view in views for row in (*asked_of(tests, view, lesson.taught), *tests.known.get(view, ()))
            ]
            if rows:
                ran = run_rows(stack, tests, rows, lesson.project)
                of_picture.append(float(rows_loss(ran, tests, lesson.narrowest)[0]))
                overlaps += box_overlaps(ran, tests)
        if of_picture:
            losses.append(fmean(of_picture))
        if overlaps:
            lacking.append(1 - fmean(overlaps))
    figures = {"held_out": fmean(losses) if losses else 0.0}
    if lacking:
        figures["held_out_iou"] = 1 - fmean(lacking)
    return HeldOut(lacking or losses, figures)


def asked_of(tests: Lessons, view: int, count: int) -> Sequence[Row]:
    """At most ``count`` taught rows of a view, the same at every call; shown things before absent ones."""
    rows = tests.taught[view]
    if len(rows) <= count:
        return rows
    return sorted(random.Random(view).sample(rows, len(rows)), key=lambda row: row.absent)[:count]


def _finish(
    pipeline: IAAPipeline,
    adaptor: Adaptor,
    held: Sequence[Example],
    files: RunFiles,
    best: int,
    on_progress: OnProgress,
    cancelled: Cancel,
) -> Taught:
    """Scores the model without and with the adaptor on held-out examples, and writes everything."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    sheet = None
    if held:
        on_progress("scores", 0, 2)
        asked = []
        for number, given in enumerate(((), (adaptor,)), 1):
            with pipeline.adaptors.using(*given):
                scores, cases = _asked(pipeline, adaptor.task, held, cancelled)
            if "by_phrase" in scores:
                scores["by_phrase"] = {p: own for p, own in scores["by_phrase"].items() if p in adaptor.phrases}
            asked.append((scores, cases))
            on_progress("scores", number, 2)
        (before, old), (after, new) = asked
        sheet = box_sheet(old, new) if adaptor.task is Task.G else answer_sheet(old, new)
    adaptor = replace(adaptor, scores={"before": before, "after": after} if held else {})
    lines = list(read_torn_jsonl(files.unfinished_curve))
    curve = draw_curve(lines, best if held else None)
    if sheet is not None:
        write_png(files.sheet, sheet)
    write_png(files.curve_png, curve)
    write_bytes(files.curve, b"".join(map(json_line, lines)), overwrite=True)
    write_adaptor(files.adaptor, adaptor)
    files.remove_parts()
    return Taught(adaptor, before, after, curve, sheet, best)


def _asked(
    pipeline: IAAPipeline, task: Task, examples: Sequence[Example], cancelled: Cancel
) -> tuple[dict[str, Any], Any]:
    if task is Task.G:
        cases = find_boxes(pipeline, examples, cancelled=cancelled)
        return summarize_boxes(cases), cases
    answers = answer_prompts(pipeline, examples, cancelled)
    return summarize_answers(answers), answers

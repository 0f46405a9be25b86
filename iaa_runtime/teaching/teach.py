"""Teaching from start to end: examples are looked at, learned from, and what came of it is written and scored.

Beside the adaptor's file, a run keeps a folder ``NAME.parts`` until it is done: the lessons, the state of the last
saved step, the curve. The same call goes on from there, and ends in the same file as if it had never been broken off.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
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
from .lessons import Lessons, Row, check_lengths, write_lessons
from .loop import Files, HeldOut, Schedule, Watch, train
from .objective import Objective, box_overlaps, rows_loss
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
    check_lengths(pipeline, settings.task, right, cancelled)  # before a run of this data is begun
    identity = identity_of(pipeline, right, settings, cancelled)
    group.barrier()  # before the first writes, the others have looked at what is there
    phrases = phrases_to_name(example.asked for example in right)
    with files.under_way() if group.is_main else nullcontext():
        if group.is_main:
            files.check(overwrite=overwrite)  # another run may have ended while the pictures were looked at
            begin(files, identity, overwrite=overwrite)
        run = _Run(pipeline, learned, held, phrases, settings, files, identity, on_progress, cancelled, group)
        return run.through()


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


@dataclass(frozen=True)
class _Run:
    """A run that is begun: what its parts go by, which are its methods."""

    pipeline: IAAPipeline
    learned: Sequence[Example]
    held: Sequence[Example]
    phrases: tuple[str, ...]
    settings: TeachSettings
    files: RunFiles
    identity: Mapping[str, Any]
    on_progress: OnProgress
    cancelled: Cancel
    group: ProcessGroup

    def through(self) -> Taught:
        """From wherever it is to its end."""
        settings, files, group = self.settings, self.files, self.group
        # A host may have switched gradients off for all that it runs.
        with torch.inference_mode(False), torch.enable_grad(), self.pipeline.adaptors.using():
            if not group.is_main:
                group.barrier()  # what the first has made is read
                if not files.settings.is_file():
                    raise _not_shared(files.adaptor)
            lessons = self.lessons(self.learned, files.lessons[0], "learned")
            tests = self.lessons(self.held, files.lessons[1], "held out") if self.held else None
            if group.is_main:
                group.barrier()
            state, best = self.learn(lessons, tests)
        group.barrier()  # before the first removes what a run that goes on after its last step still reads
        if not group.is_main:
            group.barrier()
            return read_results(files, read_adaptor(files.adaptor), settings)
        adaptor = Adaptor(
            settings.task,
            settings.rank,
            float(settings.rank),
            base_fingerprint(self.pipeline.model.checkpoint, settings.task),
            state,
            self.phrases,
            self.noted(best) | {RUN: short_digest(self.identity)},
        )
        taught = self.finish(adaptor, best)
        group.barrier()
        return taught

    def lessons(self, examples: Sequence[Example], path: Path, what: str) -> Lessons:
        """The lessons of examples, from the run's folder if they are there."""
        if path.exists():
            return load_lessons(path)
        settings, on_progress = self.settings, self.on_progress
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
            self.pipeline,
            settings.task,
            pictures,
            views,
            seed,
            lambda done: on_progress(f"views, {what}", done, total),
            self.cancelled,
        )
        remember(
            self.pipeline,
            lessons,
            list(dict.fromkeys(example.asked for example in examples)),
            answers,
            REPLAYED_A_VIEW,
            seed,
            min(MOST_VIEWS_ASKED, settings.batch),
            lambda done, of: on_progress(f"views asked about, {what}", done, of),
            self.cancelled,
        )
        save_lessons(path, lessons)
        return lessons

    def learn(self, lessons: Lessons, tests: Lessons | None) -> tuple[dict[str, Any], int]:
        """Learns the updates; returns those of the best step, and that step."""
        settings, model = self.settings, self.pipeline.model
        for bank in ("vision", "base", settings.task.stack_bank):
            model.bank(bank).requires_grad_(False)
        updates = LowRankUpdates(
            model.config, settings.task, settings.rank, float(settings.rank), settings.seed, model.device
        )
        large = model.config.hidden_size >= LARGE
        objective = Objective(
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
            group=self.group,
        )
        # Muon, whose steps are all of one size, made the demo model forget: 0.74 of what it found before, and not 0.98.
        schedule = Schedule(settings.steps, None, settings.rate, warmup=min(60, max(1, settings.steps // 10)))
        watch = Watch(
            REPORT_EVERY,
            REPORT_EVERY,
            None if tests is None else lambda: held_out(self.pipeline, updates, tests, objective),
            on_step=lambda done: self.on_progress("steps", done, settings.steps),
            cancelled=self.cancelled,
        )
        progress = train(
            updates,
            lambda step, rng: objective.loss(updates.stack(model), step, rng),
            schedule,
            Files(self.files.state, self.files.unfinished_curve, "teach"),
            watch,
            settings.seed,
            self.group,
        )
        if progress.step < settings.steps:
            raise Cancelled("It was cancelled; what was learned is kept, and the same call goes on with it.")
        return updates.pairs(progress.best), progress.best_step if progress.best is not None else progress.step

    def noted(self, best: int) -> dict[str, Any]:
        """The settings as the adaptor's file keeps them."""
        counts = {"pictures": len(by_picture(self.learned)), "held_out_pictures": len(by_picture(self.held))}
        counts["phrases"] = len({example.asked for example in (*self.learned, *self.held)})
        return asdict(self.settings) | {"task": self.settings.task.value, "kept_step": best} | counts

    def finish(self, adaptor: Adaptor, best: int) -> Taught:
        """Scores the model without and with the adaptor on held-out examples, and writes everything."""
        files, before, after, sheet = self.files, dict[str, Any](), dict[str, Any](), None
        if self.held:
            self.on_progress("scores", 0, 2)
            asked = []
            for number, given in enumerate(((), (adaptor,)), 1):
                with self.pipeline.adaptors.using(*given):
                    scores, cases = self.asked()
                if "by_phrase" in scores:
                    scores["by_phrase"] = {p: own for p, own in scores["by_phrase"].items() if p in adaptor.phrases}
                asked.append((scores, cases))
                self.on_progress("scores", number, 2)
            (before, old), (after, new) = asked
            sheet = box_sheet(old, new) if adaptor.task is Task.G else answer_sheet(old, new)
        adaptor = replace(adaptor, scores={"before": before, "after": after} if self.held else {})
        lines = list(read_torn_jsonl(files.unfinished_curve))
        curve = draw_curve(lines, best if self.held else None)
        if sheet is not None:
            write_png(files.sheet, sheet)
        write_png(files.curve_png, curve)
        write_bytes(files.curve, b"".join(map(json_line, lines)), overwrite=True)
        write_adaptor(files.adaptor, adaptor)
        files.remove_parts()
        return Taught(adaptor, before, after, curve, sheet, best)

    def asked(self) -> tuple[dict[str, Any], Any]:
        """The scores of the model as it is, and what they are of."""
        if self.settings.task is Task.G:
            cases = find_boxes(self.pipeline, self.held, cancelled=self.cancelled)
            return summarize_boxes(cases), cases
        answers = answer_prompts(self.pipeline, self.held, self.cancelled)
        return summarize_answers(answers), answers


@torch.no_grad()
def held_out(pipeline: IAAPipeline, updates: LowRankUpdates, tests: Lessons, objective: Objective) -> HeldOut:
    """What lessons that are not learned from say of the updates, as at the end of training.

    A picture's loss is 1 - the mean IoU of its boxes, 0 to 1, where there are any, since cross-entropy rises when a
    model grows too sure, while its boxes still get better. Otherwise it is the loss as it is learned from
    at the end: captions in a form count less there, but in full where one held-out picture alone has them.
    """
    stack = updates.stack(pipeline.model)
    losses, lacking = list[float](), list[float]()
    for picture in range(0, len(tests.taught), tests.a_picture):
        of_picture, overlaps = list[float](), list[float]()
        for start in range(picture, picture + tests.a_picture, objective.views):
            views = range(start, min(start + objective.views, picture + tests.a_picture))
            rows = [
                row for view in views for row in (*asked_of(tests, view, objective.taught), *tests.known.get(view, ()))
            ]
            if rows:
                ran = run_rows(stack, tests, rows, objective.project)
                of_picture.append(float(rows_loss(ran, tests, annealed=1.0)[0]))
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

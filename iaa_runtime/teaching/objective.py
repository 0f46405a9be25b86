"""How a step learns: which rows it draws, and what they cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..boxes.geometry import iou
from ..jobs.process_group import ProcessGroup
from ..model.stack import Stack
from .batches import Project, Ran, run_rows
from .lessons import Lessons, Row
from .looking import Head, Recorder, box_starts
from .losses import answer_loss, memory_loss
from .pointing import unlooked

ABSENT_SHARE = 0.25
"""Of the taught rows of a batch, where there are others."""
REMEMBERING = 3.0
"""What moving away from the model as it was weighs, relative to the answers: coordinates and words each on average. At
1, G learns new things better, and finds 0.04 fewer of what it knew."""
LOOKING = 1.0
"""What lessons in looking weigh, relative to the answers."""
WIDEST, NARROWEST = 12.0, 3.0
"""What the standard deviation of a coordinate's soft target starts and ends at, in thousandths."""
FINAL_FORM_WEIGHT = 0.1
"""What the loss of a caption in a form is multiplied with at the end, where it is 1 in the beginning. A form is soon
learned, and the rest of a caption would be learned by heart; the model's own probabilities tell what is to be seen."""
ANNEALING = 0.8
"""Share of the steps over which soft targets narrow and captions in a form come to count less; then both stay so."""


@dataclass(frozen=True)
class Objective:
    """How a step learns.

    Attributes:
        lessons: what is learned from.
        project: of the model.
        views: pictures a step.
        taught: rows of what is new, a view.
        known: rows of what the model knows already, a view.
        steps: in all; along them soft targets narrow, and captions in a form come to count less.
        pointers: heads that are told where to look.
        checkpointed: activations are computed again in the backward pass.
        group: the processes that share a step's views.
    """

    lessons: Lessons
    project: Project
    views: int
    taught: int
    known: int
    steps: int
    pointers: tuple[Head, ...] = ()
    checkpointed: bool = False
    group: ProcessGroup = field(default_factory=ProcessGroup)

    def loss(self, stack: Stack, step: int, rng: random.Random) -> tuple[Tensor, dict[str, float]]:
        """This process's share of the loss of one step's batch, and figures to report."""
        annealed = min(1.0, step / (ANNEALING * self.steps))
        rows = self.batch(rng)  # every process draws the same
        mine = set(self.group.share(list(dict.fromkeys(row.view for row in rows))))
        own = [row for row in rows if row.view in mine]
        if rows and not own:
            return torch.zeros(()), {}
        return self.loss_of(stack, own, annealed, shares_of(own, rows))

    def loss_of(
        self, stack: Stack, rows: Sequence[Row], annealed: float, weights: tuple[float, float] = (1.0, 1.0)
    ) -> tuple[Tensor, dict[str, float]]:
        """What rows cost: taught ones their answers, known ones what they moved away from the model as it was.

        Args:
            stack: as it is now.
            rows: at least one.
            annealed: how far soft targets have narrowed and captions in a form lost weight, 0 (not at all) to 1.
            weights: of taught and of known rows: what these are of all in the step.
        """
        recorder = Recorder(stack, sorted({slot for slot, _ in self.pointers}))
        with recorder.entered():
            ran = run_rows(stack, self.lessons, rows, self.project, checkpointed=self.checkpointed)
        loss, report = rows_loss(ran, self.lessons, annealed, weights)
        if self.pointers:
            unseen = unlooked(ran, self.lessons, recorder, self.pointers)
            if unseen is not None:
                loss = loss + weights[0] * LOOKING * unseen
                report["seen"] = unseen.detach().neg().exp().item()
        return loss, report

    def batch(self, rng: random.Random) -> list[Row]:
        """Rows of some views: half of them such of which something else is known, too; of one, every other time."""
        lessons = self.lessons
        taught = [number for number, rows in enumerate(lessons.taught) if rows]
        known = list(lessons.known)
        half = self.views // 2 + (self.views % 2 and rng.random() < 0.5) if known else 0
        views = [*rng.sample(taught, min(len(taught), self.views - half)), *rng.sample(known, min(len(known), half))]
        rows: list[Row] = []
        for view in dict.fromkeys(views):
            rows += _drawn(lessons.taught[view], self.taught, rng)
            others = lessons.known.get(view, [])
            rows += rng.sample(others, min(len(others), 2 * self.known))
        return rows


def _drawn(rows: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    """Some rows of a view, absent things among them seldom where others are there."""
    present, absent = ([row for row in rows if row.absent is lacks] for lacks in (False, True))
    lacking = min(len(absent), count if not present else int(rng.random() < ABSENT_SHARE * count))
    there = min(len(present), count - lacking)
    return [*rng.sample(present, there), *rng.sample(absent, lacking)]


def shares_of(own: Sequence[Row], rows: Sequence[Row]) -> tuple[float, float]:
    """What some rows of a step are of all its taught and of all its known ones, each 0 to 1, and 1 of none."""
    counted = [
        [sum((row.memory is not None) is known for row in some) for known in (False, True)] for some in (own, rows)
    ]
    taught, known = (part / whole if whole else 1.0 for part, whole in zip(*counted, strict=True))
    return taught, known


def rows_loss(
    ran: Ran, lessons: Lessons, annealed: float, weights: tuple[float, float] = (1.0, 1.0)
) -> tuple[Tensor, dict[str, float]]:
    """What the answers of rows cost, with figures to report.

    Args:
        ran: the rows, as they ran.
        lessons: theirs.
        annealed: as of :meth:`Objective.loss_of`.
        weights: of taught and of known rows: what these are of all in a step that several processes share.
    """
    rows, logits = ran.rows, ran.logits
    device = logits.device
    owners = torch.tensor([n for n, row in enumerate(rows) for _ in row.answer], device=device)
    is_known = torch.tensor([row.memory is not None for row in rows], device=device)[owners]
    targets = torch.tensor([token for row in rows for token in row.answer], device=device)
    absent = torch.tensor([row.absent for row in rows], device=device)[owners]
    loss, report = logits.new_zeros(()), dict[str, float]()
    if not is_known.all():
        sigma = WIDEST * (NARROWEST / WIDEST) ** annealed if lessons.numbers is not None else None
        in_form = torch.tensor([lessons.in_form(row) for row in rows], device=device)[owners]
        numbers = lessons.numbers if lessons.numbers is not None else torch.empty(0, dtype=torch.long)
        new = ~is_known
        token_weights = 1 - (1 - FINAL_FORM_WEIGHT) * annealed * in_form[new]
        loss, report = answer_loss(logits[new], targets[new], absent[new], numbers.to(device), sigma, token_weights)
        report["taught"] = loss.item()
        loss = loss * weights[0]
    memories = [row.memory for row in rows if row.memory is not None]
    if memories:
        ids, shares = (
            torch.cat([getattr(memory, name) for memory in memories]).to(device) for name in ("ids", "shares")
        )
        moved = memory_loss(logits[is_known], ids, shares)
        number = torch.tensor([token in lessons.values for token in targets[is_known].tolist()], device=device)
        parts = [part.mean() for part in (moved[number], moved[~number]) if len(part)]
        loss, report["moved"] = loss + weights[1] * REMEMBERING * torch.stack(parts).sum(), moved.mean().item()
    return loss, report


def box_overlaps(ran: Ran, lessons: Lessons) -> list[float]:
    """IoU of each taught box with that of the likeliest coordinates, each said behind the true ones before it."""
    if lessons.numbers is None:
        return []
    numbers, values = lessons.numbers.tolist(), lessons.values
    likeliest = iter(ran.logits[:, lessons.numbers.to(ran.logits.device)].argmax(-1).tolist())
    found = list[float]()
    for row in ran.rows:
        said = [numbers[best] if token in values else token for token, best in zip(row.answer, likeliest, strict=False)]
        if row.memory is None and not row.absent:
            pairs = zip(box_starts(said, values), box_starts(row.answer, values), strict=True)
            found += [iou(own, true) for (_, own), (_, true) in pairs]
    return found

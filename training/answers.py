"""Batches of scenes and questions for a stage of the language model, and the loss of its answers."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from close_ups import is_close_up
from data import training_scene
from dialogues import IGNORED, Branches, Dialogue, Script, chat, different_turns
from gaze import WEIGHT, Gaze
from torch import Tensor, nn

from iaa_runtime.config import Task
from iaa_runtime.model.stack import Stack
from iaa_runtime.shapes.scenes import MAX_SHAPES
from iaa_runtime.teaching.branching import Leaves, cpu_attention, run_tree
from iaa_runtime.teaching.losses import NUMBERS, answer_loss

CROWDS = ((0.06, 1), (0.13, 2), (0.22, 3))
"""(until this part of MM's training, at most so many shapes a picture): one teaches words, several teach choosing."""


@dataclass
class AnswerStage:
    """One task's stack and how to make batches for it.

    Attributes:
        task: Which workflow learns.
        stack: Its stack.
        script: Writes questions and answers as token ids.
        first_number: Id of ``000``.
        projector: Its projector; None for Text.
        features: (scenes, N, W) of the tower; None for Text.
        scenes: How many pictures a step.
        questions: How many questions a picture; without pictures a batch has ``scenes * questions`` rows.
        total_steps: Of the stage.
        labels: (scenes, 5, 6) of the pictures; None for Text.
        refine: The coordinates are learned already: their targets stay narrow.
    """

    task: Task
    stack: Stack
    script: Script
    first_number: int
    projector: nn.Module | None
    features: npt.NDArray[np.float16] | None
    scenes: int
    questions: int
    total_steps: int
    labels: npt.NDArray[np.float32] | None = None
    refine: bool = False

    def _rows(self, step: int, rng: random.Random) -> list[int]:
        """Chooses pictures: for MM first those of one shape, then of at most two, of three, then all, close-ups too.

        G starts as MM and already knows how to choose among shapes, which pictures of one would make it forget.
        """
        if self.features is None or self.labels is None:
            return [-1] * self.scenes
        crowds = CROWDS if self.task is Task.MM and not self.refine else ()
        crowd = next((most for until, most in crowds if step < until * self.total_steps), MAX_SHAPES)
        close_ups = self.task is Task.MM and crowd == MAX_SHAPES
        rows: list[int] = []
        while len(rows) < self.scenes:
            row = rng.randrange(len(self.features))
            if (close_ups or not is_close_up(row)) and (self.labels[row, :, 0] >= 0).sum() <= crowd:
                rows.append(row)
        return rows

    def _branches(self, step: int, rng: random.Random) -> tuple[list[Branches], list[int], bool]:
        """A batch (one in eight of conversations, else of questions), its pictures, and whether G's stem is shared."""
        talking = rng.random() < 0.125
        stem = self.task is Task.G and not talking
        rows, dialogues = self._rows(step, rng), list[Dialogue]()
        for parent, row in enumerate(rows):
            scene = training_scene(row) if row >= 0 else None
            on = parent if scene is not None else 0
            if talking:
                talks = [chat(self.task, scene, rng, rng.randint(2, 3)) for _ in range(max(1, self.questions // 3))]
            else:
                talks = [([turn], [True]) for turn in different_turns(self.task, scene, rng, self.questions)]
            dialogues += [Dialogue(on, turns, learned) for turns, learned in talks]
        return self.script.batch(dialogues, stem), rows, stem

    def sigma(self, step: int) -> float:
        """Width of the soft targets in thousandths: from 20 to 3, geometrically, over nine tenths of the steps."""
        return 20 * (3 / 20) ** (1.0 if self.refine else min(1.0, step / (0.9 * self.total_steps)))

    def loss(self, step: int, rng: random.Random) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and numbers to report."""
        branches, rows, stem = self._branches(step, rng)
        device = self.stack.device
        before, after = (
            torch.tensor(ids, dtype=torch.long, device=device) for ids in self.script.trunk(self.task, stem)
        )
        gaze = Gaze(self.stack, len(before)) if self.features is not None else None
        with (
            torch.autocast(device.type, torch.bfloat16),
            cpu_attention(device),
            gaze.watch() if gaze else nullcontext(),
        ):
            trunk = [self.stack.embed(before[None])]
            if self.features is not None and self.projector is not None:
                pictures = torch.from_numpy(self.features[rows]).to(device, torch.float32)
                tail = self.stack.embed(after[None]).expand(len(pictures), -1, -1)
                trunk.append(torch.cat((self.projector(pictures).to(tail.dtype), tail), 1))
            groups = [Leaves(self.stack.embed(b.ids.to(device)), b.parents.to(device)) for b in branches]
            wanted = [b.targets != IGNORED for b in branches]
            hidden = run_tree(self.stack, trunk, groups)
            logits = self.stack.logits(torch.cat([h[w.to(device)] for h, w in zip(hidden, wanted, strict=True)]))
        targets = torch.cat([b.targets[w] for b, w in zip(branches, wanted, strict=True)]).to(device)
        absent = torch.cat([b.absent[:, None].expand_as(w)[w] for b, w in zip(branches, wanted, strict=True)]).to(
            device
        )
        sigma = self.sigma(step) if self.task is Task.G else None
        numbers = torch.arange(self.first_number, self.first_number + NUMBERS, device=device)
        loss, report = answer_loss(logits, targets, absent, numbers, sigma)
        if gaze is None or self.labels is None:
            return loss, report
        labels = torch.from_numpy(self.labels[rows]).to(device)
        grid = round((trunk[1].shape[1] - len(after)) ** 0.5)
        unseen = gaze.loss(
            labels, grid, [b.parents.to(device) for b in branches], [b.looks.to(device) for b in branches]
        )
        return loss + WEIGHT * unseen, report | {"seen": unseen.neg().exp().item()}

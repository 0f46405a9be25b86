"""The training loop that every stage uses: seeded, resumable, with a learning curve."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

LossOf = Callable[[int, random.Random], tuple[Tensor, dict[str, float]]]
_SAVE_EVERY, _REPORT_EVERY = 250, 50
_WARMUP = 60
_log = logging.getLogger("shapes")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns.

    Attributes:
        steps: Optimizer steps.
        matrix_lr: Peak rate of the hidden layers' matrices (Muon; Jordan et al., 2024).
        vector_lr: Peak rate of embeddings, heads, norms and biases (AdamW).
    """

    steps: int
    matrix_lr: float = 0.02
    vector_lr: float = 2e-3

    def slower(self) -> Schedule:
        """The same at a fifth of the rates, for weights that are nearly right."""
        return replace(self, matrix_lr=self.matrix_lr / 5, vector_lr=self.vector_lr / 5)

    def factor(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return min(1.0, (step + 1) / _WARMUP) * (0.02 + 0.98 * cosine)


def _optimizers(module: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    def hidden(name: str, parameter: Tensor) -> bool:
        return parameter.ndim == 2 and not any(part in name for part in ("embed", "head"))

    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if hidden(name, p)]
    others = [p for name, p in named if not hidden(name, p)]
    return [
        torch.optim.Muon(matrices, lr=schedule.matrix_lr, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=schedule.vector_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(name: str, module: nn.Module, loss_of: LossOf, schedule: Schedule, folder: Path, seed: int = 0) -> None:
    """Trains ``module``, saving its state to ``folder/NAME.pt``; resumes from there if that exists.

    Args:
        name: Of the stage.
        module: Whose trainable parameters are learned.
        loss_of: (step, random source of that step) -> loss and figures to report.
        schedule: How long and how fast.
        folder: Where the state and ``curve.jsonl`` are written.
        seed: Of the random sources, with the step's number.
    """
    optimizers, state_file = _optimizers(module, schedule), folder / f"{name}.pt"
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    start = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        module.load_state_dict(state["module"])
        start = state["step"]
        if state["optimizers"]:  # weights taken from a checkpoint come without
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
    sums: dict[str, list[float]] = {}
    began = time.monotonic()
    for step in range(start, schedule.steps):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * schedule.factor(step)
        loss, report = loss_of(step, random.Random(f"{seed} {name} {step}"))
        module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for key, value in ({"loss": loss.item()} | report).items():
            sums.setdefault(key, []).append(value)
        if (step + 1) % _REPORT_EVERY == 0:
            line = {"stage": name, "step": step + 1, "seconds": round(time.monotonic() - began, 1)}
            line |= {key: round(sum(values) / len(values), 5) for key, values in sums.items()}
            _log.info("%s", line)
            with (folder / "curve.jsonl").open("a") as curve:
                curve.write(json.dumps(line) + "\n")
            sums = {}
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == schedule.steps:
            saved_state = {
                "module": module.state_dict(),
                "step": step + 1,
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            }
            torch.save(saved_state, state_file.with_suffix(".tmp"))
            os.replace(state_file.with_suffix(".tmp"), state_file)

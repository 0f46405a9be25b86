"""The training loop: seeded, resumable at any step, with a learning curve and the best state by a held-out loss."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Cancel, InputError
from ..jobs.files import append_bytes, read_torn_jsonl, write_bytes
from ..jobs.process_group import ProcessGroup
from .files import damage_named, write_state

LossOf = Callable[[int, random.Random], tuple[Tensor, dict[str, float]]]
"""(step, random source of that step) -> loss and figures to report. Of several processes each gives its share of the
loss, which they sum; one that has nothing to do in a step gives a 0 without gradients."""
SLACK = 0.05
"""By what share the last state may be worse on a single held-out picture."""
OnReport = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast something learns.

    Attributes:
        steps: Optimizer steps.
        matrix_lr: Peak rate of the hidden layers' matrices (Muon; Jordan et al., 2024); None learns them as the rest.
        vector_lr: Peak rate of embeddings, heads, norms and biases (AdamW).
        warmup: Steps of linear warm-up.
    """

    steps: int
    matrix_lr: float | None = 0.02
    vector_lr: float = 2e-3
    warmup: int = 60

    def at(self, share: float) -> Schedule:
        """The same at a share of the rates, for weights that are nearly right."""
        matrix_lr = None if self.matrix_lr is None else self.matrix_lr * share
        return replace(self, matrix_lr=matrix_lr, vector_lr=self.vector_lr * share)

    def factor(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * cosine)


@dataclass(frozen=True)
class Files:
    """Where a run keeps itself.

    Attributes:
        state: weights, optimizers and step, replaced whole.
        curve: JSON lines, one a report.
        name: of the run, a stage perhaps; in the curve and in the seeds.
    """

    state: Path
    curve: Path
    name: str


@dataclass(frozen=True)
class HeldOut:
    """What examples that are not learned from say of a state.

    Attributes:
        losses: of each picture, 0 or more, in the same order every time; the state whose mean is the least is the best.
        figures: for the curve. Where one of them is not finite, the state is no candidate.
    """

    losses: Sequence[float]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Watch:
    """What else happens while something learns.

    Attributes:
        report_every: Steps between two lines of the curve, and between two looks at held-out examples.
        save_every: Steps between two states on disk.
        held_out: Looks at examples that are not learned from, or None where there are none.
        on_report: Called with each line of the curve.
        on_step: Called with the number of steps done.
        cancelled: True ends the run; the state is saved before.
    """

    report_every: int = 50
    save_every: int = 250
    held_out: Callable[[], HeldOut] | None = None
    on_report: OnReport = lambda line: None
    on_step: Callable[[int], object] = lambda done: None
    cancelled: Cancel = None


@dataclass
class Progress:
    """How far a run is: what its state file holds beside weights and optimizers."""

    step: int = 0
    seconds: float = 0.0
    sums: dict[str, list[float]] = field(default_factory=dict)
    best_losses: list[float] = field(default_factory=list)
    best_step: int = 0
    best: dict[str, Tensor] | None = None


def optimizers_for(module: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon (of torch 2.9) for hidden matrices, AdamW for the rest."""

    def hidden(name: str, parameter: Tensor) -> bool:
        of_muon = schedule.matrix_lr is not None and parameter.ndim == 2
        return of_muon and not any(part in name for part in ("embed", "head"))

    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if hidden(name, p)]
    others = [p for name, p in named if not hidden(name, p)]
    found: list[torch.optim.Optimizer] = []
    if matrices and schedule.matrix_lr is not None:
        found.append(torch.optim.Muon(matrices, lr=schedule.matrix_lr, weight_decay=0.01, momentum=0.95))
    if others:
        found.append(torch.optim.AdamW(others, lr=schedule.vector_lr, betas=(0.9, 0.98), weight_decay=0.0))
    return found


def train(
    module: nn.Module,
    loss_of: LossOf,
    schedule: Schedule,
    files: Files,
    watch: Watch | None = None,
    seed: int = 0,
    group: ProcessGroup | None = None,
) -> Progress:
    """Trains ``module``, saving its state; resumes from there if that exists, and then ends as if unbroken.

    Args:
        module: Whose trainable parameters are learned.
        loss_of: Makes the loss of a step.
        schedule: How long and how fast.
        files: Where the state and the curve are.
        watch: What else happens.
        seed: Of the random sources, with the run's name and the step's number.
        group: The processes that share each step. All learn the same; the first alone writes and looks at held-out
            examples. This one alone when None.

    Returns:
        How far it came: all steps, unless it was cancelled.

    Raises:
        InputError: the loss is no number any more; or the state cannot be written or read.
    """
    watch, group = watch or Watch(), group or ProcessGroup()
    optimizers = optimizers_for(module, schedule)
    peaks = [rates["lr"] for optimizer in optimizers for rates in optimizer.param_groups]
    progress = _resume(module, optimizers, files, group)
    all_rates = [rates for optimizer in optimizers for rates in optimizer.param_groups]  # resuming makes them anew
    before, began = progress.seconds, time.monotonic()
    for step in range(progress.step, schedule.steps):
        for rates, peak in zip(all_rates, peaks, strict=True):
            rates["lr"] = peak * schedule.factor(step)
        loss, report = loss_of(step, random.Random(f"{seed} {files.name} {step}"))
        module.zero_grad(set_to_none=True)
        if loss.requires_grad or group.world_size == 1:
            loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        _sum_over(group, module, loss)
        if not math.isfinite(loss.item()):
            raise InputError(
                f"In step {step + 1} the loss is {loss.item()}: it has diverged, and would again. Begin anew with "
                "other settings: another dtype or seed, more pictures a step, a smaller rank."
            )
        nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if group.is_main:
            for key, value in ({"loss": loss.item()} | report).items():
                progress.sums.setdefault(key, []).append(value)
        progress.step, progress.seconds = step + 1, before + time.monotonic() - began
        last = step + 1 == schedule.steps
        if group.is_main and ((step + 1) % watch.report_every == 0 or last):
            _report(module, progress, files, watch, last)
        stopped = watch.cancelled is not None and watch.cancelled()
        if group.is_main and ((step + 1) % watch.save_every == 0 or last or stopped):
            _save(module, optimizers, progress, files.state)
        watch.on_step(step + 1)
        if stopped:
            break
    return progress


def _sum_over(group: ProcessGroup, module: nn.Module, loss: Tensor) -> None:
    """Sums loss and gradients, in place: in one go, which takes less time than one for each matrix."""
    if group.world_size == 1:
        return
    learned = [p for p in module.parameters() if p.requires_grad]
    for parameter in learned:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    parts = [loss, *(p.grad for p in learned if p.grad is not None)]
    flat = torch.cat([part.reshape(-1).to(learned[0].device, torch.float32) for part in parts])
    group.add(flat)
    for part, total in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
        part.copy_(total.view_as(part))


def _report(module: nn.Module, progress: Progress, files: Files, watch: Watch, last: bool) -> None:
    """Adds a line to the curve, with the held-out loss, and notes the best state.

    The last one, for which the rate came down, is the best unless another was clearly better.
    """
    line: dict[str, Any] = {"stage": files.name, "step": progress.step, "seconds": round(progress.seconds, 1)}
    line |= {key: round(sum(values) / len(values), 5) for key, values in progress.sums.items()}
    if watch.held_out is not None:
        held_out = watch.held_out()
        line |= {key: round(value, 5) for key, value in held_out.figures.items()}
        losses, best = list(held_out.losses), progress.best_losses
        finite = all(map(math.isfinite, (*losses, *held_out.figures.values())))
        if finite and (not best or sum(losses) < sum(best) or (last and not clearly_less(best, losses))):
            progress.best_losses, progress.best_step = losses, progress.step
            progress.best = {name: t.detach().to("cpu", copy=True) for name, t in module.state_dict().items()}
    append_bytes(files.curve, json.dumps(line).encode() + b"\n")
    watch.on_report(line)
    progress.sums = {}


def clearly_less(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether losses ``a`` are less than ``b``, of the same pictures, by more than chance.

    That is two standard errors of the mean of their differences: of some ten pictures, the least of forty reports is so
    much less than the rest by chance. Of one picture, which has no standard error, it is ``SLACK`` of its loss.
    """
    if len(a) == 1:
        return b[0] >= a[0] * (1 + SLACK)
    differences = [theirs - own for own, theirs in zip(a, b, strict=True)]
    return statistics.fmean(differences) > 2 * statistics.stdev(differences) / math.sqrt(len(differences))


def _save(module: nn.Module, optimizers: list[torch.optim.Optimizer], progress: Progress, path: Path) -> None:
    state = {
        "module": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        **vars(progress),
    }
    write_state(path, state)


def _resume(module: nn.Module, optimizers: list[torch.optim.Optimizer], files: Files, group: ProcessGroup) -> Progress:
    """Puts a saved state in place, if there is one, and drops what the curve says of later steps."""
    progress = Progress()
    if files.state.exists():
        with damage_named(files.state):
            state = torch.load(files.state, weights_only=True, map_location="cpu")
            module.load_state_dict(state.pop("module"))
            for optimizer, saved in zip(optimizers, state.pop("optimizers") or [], strict=False):
                optimizer.load_state_dict(saved)  # weights taken from a checkpoint come without
            progress = Progress(**state)
    if not group.is_main:
        return progress
    lines = list(read_torn_jsonl(files.curve))
    kept = [line for line in lines if line.get("stage") != files.name or line.get("step", 0) <= progress.step]
    if len(kept) < len(lines):
        write_bytes(files.curve, b"".join(json.dumps(line).encode() + b"\n" for line in kept), overwrite=True)
    return progress

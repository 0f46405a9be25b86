"""Which adaptors a model answers with, each at a strength: read, checked, and put where the model computes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..checkpoint.checkpoint import Checkpoint
from ..config import Task
from ..errors import InputError, spelled
from .file import Adaptor, read_adaptor
from .low_rank import Update, Updates, joined, placed

Chosen = tuple[Adaptor, float]
"""An adaptor and its strength."""

Given = str | Path | Adaptor | tuple[str | Path | Adaptor, float]
"""An adaptor as callers name it: a file or what was read of one, at strength 1 or beside another."""


def checked_strength(strength: float) -> float:
    """A strength, if it is a number to multiply by."""
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not math.isfinite(strength):
        raise InputError(f"{spelled(strength)} is no strength of an adaptor. Give a number: 1 as it was taught, 0 off.")
    return float(strength)


class Adaptors:
    """The adaptors that a model answers with; none at first.

    Args:
        checkpoint: the model's.
        active: those in use from the beginning, which fit it.

    Example:
        >>> from iaa_runtime import IAAPipeline
        >>> pipeline = IAAPipeline.from_pretrained()
        >>> pipeline.adaptors.active
        ()
    """

    def __init__(self, checkpoint: Checkpoint, active: Sequence[Chosen] = ()) -> None:
        self._checkpoint, self._active = checkpoint, tuple(active)
        self._placed: dict[Task, tuple[tuple[Chosen, ...], Updates]] = {}

    @property
    def active(self) -> tuple[Chosen, ...]:
        """Those in use, with their strengths, in the order in which they came."""
        return self._active

    def read(self, *given: Given) -> tuple[Chosen, ...]:
        """Reads adaptors and compares them with the model; nothing is put to use yet.

        Raises:
            AdaptorError: a file is broken, or was taught on another model.
            InputError: what is given names none, or a strength is no number.
        """
        found: list[Chosen] = []
        for one in given:
            what, strength = one if isinstance(one, tuple) and len(one) == 2 else (one, 1.0)
            if not isinstance(what, (str, os.PathLike, Adaptor)):
                raise InputError(
                    f"{spelled(what)} names no adaptor. Give a file or (file, strength), and no list of them."
                )
            strength = checked_strength(strength)
            adaptor = what if isinstance(what, Adaptor) else read_adaptor(os.path.expanduser(what))
            where = "The adaptor" if isinstance(what, Adaptor) else f"The adaptor {what}"
            adaptor.check_fits(self._checkpoint, where)
            found.append((adaptor, strength))
        return tuple(found)

    def load(self, file: str | Path | Adaptor, strength: float = 1.0) -> Adaptor:
        """Answers with an adaptor from now on, besides those in use; raises what :meth:`read` does."""
        chosen = self.read((file, strength))
        self._active += chosen
        return chosen[0][0]

    def clear(self) -> None:
        """Answers without adaptors again, bit for bit as before."""
        self._active = ()
        self.release()

    @contextmanager
    def using(self, *given: Given) -> Iterator[tuple[Chosen, ...]]:
        """Answers with these adaptors alone while it is entered; with none given, without."""
        before, self._active = self._active, self.read(*given)
        try:
            yield self._active
        finally:
            self._active = before

    def release(self) -> None:
        """Drops what was put on the device; it is put there again when next needed."""
        self._placed.clear()

    # What the model asks --------------------------------------------------------------------------------------------

    def on(self, task: Task) -> tuple[Chosen, ...]:
        """Those that change a task's answers."""
        return tuple((adaptor, strength) for adaptor, strength in self._active if adaptor.task is task and strength)

    def nbytes(self, task: Task, dtype: torch.dtype) -> int:
        """Bytes of a task's updates on the device, in ``dtype``."""
        pairs = (pair for adaptor, _ in self.on(task) for pair in adaptor.pairs.values())
        return sum((a.numel() + b.numel()) * dtype.itemsize for a, b in pairs)

    def updates(self, task: Task, device: torch.device, dtype: torch.dtype, *, keep: bool) -> Updates:
        """A task's updates on ``device`` in ``dtype``, all adaptors together; with ``keep`` they stay there."""
        chosen = self.on(task)
        known = self._placed.get(task)
        if known is not None and known[0] == chosen:
            return known[1]
        made: dict[str, Update] = placed(joined([a.updates(s) for a, s in chosen]), device, dtype)
        if keep:
            self._placed[task] = chosen, made
        return made

    def identity(self) -> str:
        """What is in use, as a job's settings note it down: digests and strengths; empty where nothing is."""
        return ", ".join(f"{adaptor.digest}:{strength:g}" for adaptor, strength in self._active if strength)

"""How something is taught, and the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..adaptors.file import LARGEST_RANK, SUFFIX
from ..config import Task
from ..errors import InputError
from ..jobs.files import check_output

PARTS = ".parts"
"""Suffix of the folder in which an unfinished run is kept."""


@dataclass(frozen=True)
class TeachSettings:
    """How something is taught.

    Attributes:
        task: G learns boxes, MM answers.
        rank: of the updates; a larger one learns more and forgets more.
        steps: of the optimizer.
        hold_out: share of the pictures that are not learned from: they choose the best step, and are scored.
        seed: of everything that is drawn.
        batch: pictures a step.
        rate: peak learning rate.
    """

    task: Task = Task.G
    rank: int = 16
    steps: int = 300
    hold_out: float = 0.2
    seed: int = 0
    batch: int = 8
    rate: float = 0.002

    def __post_init__(self) -> None:
        if not self.task.sees:
            raise InputError("The Text task is the frozen language model, which is never taught. Teach MM or G.")
        for name, most in (("rank", LARGEST_RANK), ("steps", 1_000_000), ("batch", 256)):
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}; it must be from 1 to {most:,}.")
        if not 0 <= self.hold_out <= 0.9:
            raise InputError(f"hold_out is {self.hold_out}; it must be from 0 to 0.9.")
        if not 0 < self.rate <= 1:
            raise InputError(f"rate is {self.rate}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class Outputs:
    """The files of a run, all named after the adaptor's."""

    adaptor: Path

    @property
    def curve(self) -> Path:
        """The learning curve as JSON lines."""
        return self.adaptor.with_suffix(".curve.jsonl")

    @property
    def curve_png(self) -> Path:
        """The learning curve as a picture."""
        return self.adaptor.with_suffix(".curve.png")

    @property
    def sheet(self) -> Path:
        """Held-out pictures before and after."""
        return self.adaptor.with_suffix(".before-after.png")

    @property
    def parts(self) -> Path:
        """The folder of the unfinished run."""
        return self.adaptor.with_name(f"{self.adaptor.name}{PARTS}")

    def check(self, *, overwrite: bool) -> None:
        """Raises :class:`InputError` where one of them may not be written."""
        if self.adaptor.suffix != SUFFIX:
            raise InputError(f"{self.adaptor} is no name for an adaptor: it must end in {SUFFIX}.")
        for path in (self.adaptor, self.curve, self.curve_png, self.sheet):
            check_output(path, overwrite=overwrite or self.parts.exists())

"""How answers are decoded (:class:`GenerationConfig`): the one place for the project's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, TypedDict

from ..errors import InputError, spelled
from .formats import checked_format
from .task import Task

MOST_BEAMS = 256
"""Each takes the memory of an answer of its own."""
BATCH_ROWS = 8
"""Rows that are answered at once; bounds memory however many images and phrases come."""
LARGEST = 1e30
"""Beyond this no option means anything."""
SMALLEST = 1e-6
"""Of options that must be above 0: less means nothing else, and is 0 in the numbers of 16 or 32 bits to come."""


class GenerationOptions(TypedDict, total=False):
    """Fields of :class:`GenerationConfig` as keyword arguments; None means the default."""

    max_new_tokens: int | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    repetition_penalty: float | None
    num_beams: int | None
    length_penalty: float | None
    early_stopping: bool | None
    stop: str | Sequence[str] | None
    format: str | Mapping[str, Any] | None


@dataclass(frozen=True)
class GenerationConfig:
    """How answers are decoded; the defaults of the whole project stand here.

    Example:
        >>> GenerationConfig.for_task(Task.G, do_sample=True, temperature=0.7).max_new_tokens
        128

    Attributes:
        max_new_tokens: at most this many tokens are generated, the end token included.
        do_sample: draw tokens at random; otherwise the most likely one is taken and the next five are unused.
        temperature: divides the logits; at least ``SMALLEST``.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the smallest set of likeliest tokens whose probability reaches p, in [``SMALLEST``, 1].
        min_p: drop tokens less likely than min_p times the likeliest, in [0, 1].
        seed: of the random draws; the same seed gives the same text on the same device and dtype.
        repetition_penalty: above 1 makes tokens of the prompt and the answer less likely (Keskar et al., 2019); at
            least ``SMALLEST``.
        num_beams: beams of a beam search; 1 is none.
        length_penalty: beam scores are divided by ``length ** length_penalty``; in [-10, 10].
        early_stopping: end a beam search as soon as ``num_beams`` answers are finished.
        stop: the answer ends before the first of these strings.
        format: what answers of MM and Text are held to: a JSON schema (a dict, or a text that begins with ``{``) or a
            regular expression (any other text); empty for free answers. See :mod:`iaa_runtime.text.formats`.
    """

    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    stop: tuple[str, ...] = ()
    format: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, self._converted(each.name, each.default))
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (
                self.temperature >= SMALLEST,
                f"at least {SMALLEST:f} (for greedy decoding leave do_sample off)",
            ),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "top_p": (SMALLEST <= self.top_p <= 1, f"in [{SMALLEST:f}, 1]"),
            "min_p": (0 <= self.min_p <= 1, "in [0, 1]"),
            "repetition_penalty": (self.repetition_penalty >= SMALLEST, f"at least {SMALLEST:f}"),
            "num_beams": (1 <= self.num_beams <= MOST_BEAMS, f"from 1 to {MOST_BEAMS}"),
            "length_penalty": (-10 <= self.length_penalty <= 10, "in [-10, 10]"),
            "seed": (-(1 << 63) <= self.seed < 1 << 64, "a number of 64 bits"),
        }
        for name, (fine, limit) in checks.items():
            if not fine:
                raise InputError(f"{name} is {spelled(getattr(self, name))}; it must be {limit}.")
        if self.num_beams > 1 and self.do_sample:
            raise InputError("Beam search and sampling do not go together: set num_beams to 1 or do_sample to False.")
        if self.format and (self.num_beams > 1 or self.stop):
            raise InputError(
                "An answer held to a format goes neither with beam search nor with stop, which would cut it: set "
                "num_beams to 1 and leave stop out, or leave format out."
            )

    def _converted(self, name: str, default: object) -> object:
        """A field's value as Python's own kind, NumPy's numbers among them."""
        value = getattr(self, name)
        if isinstance(default, str):
            return checked_format(value)
        kind: Any = type(default)
        if kind is tuple:
            fine, wanted = isinstance(value, (tuple, list)) and all(isinstance(each, str) for each in value), "texts"
        elif kind is bool:
            fine, wanted = isinstance(value, bool), "True or False"
        else:
            number: Any = Integral if kind is int else Real
            fine = isinstance(value, number) and not isinstance(value, bool) and abs(value) <= LARGEST
            wanted = "a whole number" if kind is int else "a finite number"
        if not fine:
            raise InputError(f"{name} is {spelled(value)}; it must be {wanted}.")
        return kind(value)

    @classmethod
    def for_task(cls, task: Task, **changes: Any) -> GenerationConfig:
        """The task's defaults (128 new tokens for G, 512 otherwise) with ``changes``; None means "the default"."""
        chosen: dict[str, Any] = {"max_new_tokens": 128} if task is Task.G else {}
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise InputError(f"There is no generation option {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        chosen |= {name: value for name, value in changes.items() if value is not None}
        if isinstance(chosen.get("stop"), str):  # a string is a sequence too, of stops a character long
            chosen["stop"] = (chosen["stop"],)
        if task is Task.G and chosen.get("format"):
            raise InputError("Answers of task G are boxes, held to a grammar of their own. Leave format out.")
        return cls(**chosen)

"""How well a model does on examples: boxes of G, answers of MM, each with what chance would leave of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..boxes.answers import Detection
from ..boxes.geometry import paired_overlaps
from ..config import BATCH_ROWS
from ..errors import Cancel
from ..evaluation.statistics import bootstrap_interval, wilson_interval
from ..pipeline.asking import batches
from ..pipeline.base import Pipeline
from .examples import Example, by_picture

THRESHOLDS = (0.5, 0.75)
"""IoU from which on a box is right."""


@dataclass(frozen=True)
class BoxCase:
    """What was found for an example."""

    example: Example
    found: tuple[Detection, ...]

    @property
    def overlaps(self) -> tuple[float, ...]:
        """IoU of each true box with the found one that it is paired with, best pairs first; 0 without one."""
        return tuple(paired_overlaps([d.xyxy for d in self.found], self.example.boxes))

    def right(self, threshold: float) -> float:
        """The share that is right, 0 to 1, of as many boxes as there are or were found: one too many costs as well."""
        hits = sum(overlap >= threshold for overlap in self.overlaps)
        return hits / max(len(self.found), len(self.example.boxes), 1)


def find_boxes(
    pipeline: Pipeline,
    examples: Sequence[Example],
    threshold: float | None = None,
    on_done: Callable[[int], object] = lambda done: None,
    cancelled: Cancel = None,
) -> list[BoxCase]:
    """Asks for every example's phrase.

    Args:
        pipeline: answers.
        examples: checked.
        threshold: boxes of lower scores are dropped; the model's own when None.
        on_done: called with the number of examples done.
        cancelled: True raises :class:`Cancelled`.
    """
    cases: list[BoxCase] = []
    for batch in batches(by_picture(examples), BATCH_ROWS):
        pictures = [shown.load() for shown in batch]
        phrases = [list(dict.fromkeys(e.asked for e in shown.examples)) for shown in batch]
        found = pipeline.ground(pictures, phrases, threshold=threshold, cancelled=cancelled)
        for shown, own in zip(batch, found, strict=True):
            cases += [BoxCase(e, tuple(d for d in own if d.label == e.asked)) for e in shown.examples]
        on_done(len(cases))
    return cases


def summarize_boxes(cases: Sequence[BoxCase]) -> dict[str, Any]:
    """Measures of cases.

    Returns:
        ``count`` of phrases that are shown; ``precision_at_0.5`` and ``precision_at_0.75``, the mean of what
        :meth:`BoxCase.right` says of them; ``mean_iou`` over their boxes; ``absent`` phrases and ``false_boxes``, the
        share of these for which a box was found. Each measure has an ``…_interval_95``: of means by the bootstrap over
        pictures (where these all agree, as :func:`.bootstrap_interval` says), of the share Wilson's. Measures of
        nothing are None. ``by_phrase`` has ``count``, ``precision_at_0.5`` and ``mean_iou`` of each.
    """
    present = [case for case in cases if case.example.boxes]
    absent = [case for case in cases if not case.example.boxes]
    result: dict[str, Any] = {"count": len(present)}
    for threshold in THRESHOLDS:
        values = [(case, case.right(threshold), 1) for case in present]
        result |= _mean(f"precision_at_{threshold}", values)
    result |= _mean("mean_iou", [(case, sum(case.overlaps), len(case.overlaps)) for case in present])
    false = sum(bool(case.found) for case in absent)
    result |= {"absent": len(absent), "false_boxes": false / len(absent) if absent else None}
    result["false_boxes_interval_95"] = list(wilson_interval(false, len(absent))) if absent else None
    phrases = dict.fromkeys(case.example.asked for case in present)
    result["by_phrase"] = {phrase: _group([c for c in present if c.example.asked == phrase]) for phrase in phrases}
    return result


def _group(cases: Sequence[BoxCase]) -> dict[str, Any]:
    overlaps = [overlap for case in cases for overlap in case.overlaps]
    right = sum(case.right(THRESHOLDS[0]) for case in cases) / len(cases)
    return {"count": len(cases), "precision_at_0.5": right, "mean_iou": sum(overlaps) / len(overlaps)}


def _mean(name: str, values: Iterable[tuple[BoxCase, float, int]]) -> dict[str, Any]:
    """A mean of sums over counts, with its interval over pictures."""
    groups: dict[str, tuple[float, int]] = {}
    for case, value, count in values:
        before = groups.get(case.example.picture_key, (0.0, 0))
        groups[case.example.picture_key] = before[0] + value, before[1] + count
    if not groups:
        return {name: None, f"{name}_interval_95": None}
    sums, counts = zip(*groups.values(), strict=True)
    interval = bootstrap_interval(sums, counts, bounds=(0.0, 1.0))
    return {name: sum(sums) / sum(counts), f"{name}_interval_95": list(interval)}


def answer_prompts(
    pipeline: Pipeline, examples: Sequence[Example], cancelled: Cancel = None
) -> list[tuple[Example, str]]:
    """What a model says to every example's prompt; those with messages before it are left out."""
    alone = [example for example in examples if not example.before]
    answers: list[tuple[Example, str]] = []
    for batch in batches(alone, BATCH_ROWS):
        texts = pipeline.caption([e.load() for e in batch], [e.asked for e in batch], cancelled=cancelled)
        answers += zip(batch, texts, strict=True)
    return answers


def summarize_answers(answers: Sequence[tuple[Example, str]]) -> dict[str, Any]:
    """``count`` of answers, and the share that are ``exact`` but for blanks and case at either end, with Wilson's
    interval."""
    exact = sum(_plain(text) == _plain(example.answer) for example, text in answers)
    if not answers:
        return {"count": 0, "exact": None, "exact_interval_95": None}
    return {
        "count": len(answers),
        "exact": exact / len(answers),
        "exact_interval_95": list(wilson_interval(exact, len(answers))),
    }


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def told(summary: Mapping[str, Any]) -> list[str]:
    """The lines of a summary for people: measure, value and interval."""
    lines = []
    for name, value in summary.items():
        if f"{name}_interval_95" in summary and value is not None:
            low, high = summary[f"{name}_interval_95"]
            lines.append(f"{name:<20}{value:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    return lines

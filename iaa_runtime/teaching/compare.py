"""Two runs of ``iaa eval boxes`` on the same data, paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..boxes.answers import Detection
from ..boxes.geometry import Box
from ..errors import InputError
from ..evaluation.compare import compare_means, discordant_counts
from ..images.names import slashed
from ..jobs.files import numbered_jsonl
from .examples import Example
from .scores import THRESHOLDS, BoxCase


def case_record(case: BoxCase) -> dict[str, Any]:
    """A case as a line of JSON; :func:`read_cases` reads it."""
    return {
        "image": slashed(str(case.example.image)),
        "phrase": case.example.asked,
        "boxes": [list(box) for box in case.example.boxes],
        "detections": [found.to_dict() for found in case.found],
        "iou": [round(overlap, 4) for overlap in case.overlaps],
    }


def holds_cases(path: Path) -> bool:
    """Whether a file holds lines of :func:`case_record`, by the first of them."""
    if not path.is_file():
        return False
    try:
        _, row = next(numbered_jsonl(path), (0, {}))
    except InputError:
        return False
    return "phrase" in row and "detections" in row


def read_cases(path: Path) -> list[BoxCase]:
    """The cases that ``iaa eval boxes --out`` wrote.

    Raises:
        InputError: the file is not there, or a line is no case; names it.
    """
    cases = []
    for number, row in numbered_jsonl(path):
        try:
            boxes = tuple(_box(box) for box in row["boxes"])
            found = tuple(_detection(one, row["phrase"]) for one in row["detections"])
            cases.append(BoxCase(Example(Path(row["image"]), str(row["phrase"]), boxes), found))
        except (LookupError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}, line {number}: it is no case of `iaa eval boxes --out`, with image, phrase, boxes and "
                "detections. Make the file anew."
            ) from None
    return cases


def compare_boxes(first: Sequence[BoxCase], second: Sequence[BoxCase]) -> dict[str, Any]:
    """Two runs on the same data.

    Args:
        first: cases of the one run.
        second: those of the other, in the same order.

    Returns:
        ``precision_at_0.5``, ``precision_at_0.75`` and ``mean_iou`` of what is shown, and ``false_boxes`` of what is
        not, each as of :func:`..evaluation.compare.compare_refcoco`, and left out where there is nothing of its kind;
        ``count``; ``only_first`` and ``only_second``, phrases that are wholly right in one run alone.

    Raises:
        InputError: the runs are not about the same phrases, boxes and pictures.
    """
    if [_asked(case) for case in first] != [_asked(case) for case in second]:
        raise InputError("The runs are about other phrases, boxes or pictures. Compare runs of the same DATA.")
    compared: dict[str, Any] = {}
    for name, values in _MEASURES.items():
        of = [(a.example.picture_key, *pair) for a, b in zip(first, second, strict=True) for pair in values(a, b)]
        if of:
            pictures, before, after = zip(*of, strict=True)
            compared[name] = compare_means(before, after, pictures)
    whole = [(_whole(a), _whole(b)) for a, b in zip(first, second, strict=True)]
    return compared | discordant_counts(whole)


Pairs = Sequence[tuple[float, float]]


def _right(threshold: float) -> Callable[[BoxCase, BoxCase], Pairs]:
    return lambda a, b: [(a.right(threshold), b.right(threshold))] if a.example.boxes else []


_MEASURES: Mapping[str, Callable[[BoxCase, BoxCase], Pairs]] = {
    **{f"precision_at_{threshold}": _right(threshold) for threshold in THRESHOLDS},
    "mean_iou": lambda a, b: list(zip(a.overlaps, b.overlaps, strict=True)),
    "false_boxes": lambda a, b: [] if a.example.boxes else [(bool(a.found), bool(b.found))],
}


def _whole(case: BoxCase) -> bool:
    """Whether all is right at the lower threshold: every box is found, and none too many."""
    return case.right(THRESHOLDS[0]) == 1 if case.example.boxes else not case.found


def _asked(case: BoxCase) -> tuple[str, str, tuple[Box, ...]]:
    return Path(case.example.picture_key).name, case.example.asked, case.example.boxes


def _box(value: Any) -> Box:
    x1, y1, x2, y2 = map(float, value)
    return x1, y1, x2, y2


def _detection(row: Mapping[str, Any], phrase: str) -> Detection:
    x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
    return Detection(x, y, width, height, phrase, float(row["score"]))

"""Scores RefCOCO, RefCOCO+ and RefCOCOg: is the box of an expression the right one?

The files are those of the published evaluation. Annotations, a JSON object a line: ``sent_id``, ``expression``,
``img_path``, ``bbox`` ``[x1, y1, x2, y2]`` in pixels, ``height``, ``width``. Predictions: ``question_id`` (a
``sent_id``), ``prompt`` (the expression), ``text`` (the answer, in fractions of the padded square).
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..boxes.geometry import Box, iou, unpad_box
from ..errors import InputError, spelled
from ..jobs.files import check_text, numbered_jsonl
from .statistics import bootstrap_interval, wilson_interval

HIT = 0.5
"""The least IoU of a right box."""
THRESHOLDS = tuple(round(0.5 + step / 20, 2) for step in range(10))
"""COCO's IoU thresholds: 0.5, 0.55 … 0.95."""
SIZES = (("small", 32**2), ("medium", 96**2), ("large", math.inf))
"""COCO's size groups, each with the limit that a target's area in pixels is below (Lin et al., 2014, arXiv
1405.0312)."""
ASPECTS = (("square", 1.1), ("to 4:3", 1.34), ("to 3:2", 1.51), ("longer", math.inf))
"""Groups of pictures by long side over short side, each with its limit, inclusive: padding costs long ones pixels."""
LONGEST_SIDE = 1 << 24
"""Of a picture, in pixels, and the limit of a coordinate."""
LONGEST_ANSWER = 1 << 18
"""Characters. Of a longer list of numbers Python's parser makes gigabytes, and hears no Ctrl-C meanwhile."""
BINS = 10
"""Bars of the IoU histogram."""


@dataclass(frozen=True)
class Target:
    """An annotation: an expression, its picture (``size`` is width and height), and its box in pixels."""

    sent_id: int | str
    expression: str
    img_path: str
    bbox: Box
    size: tuple[int, int]

    @property
    def area(self) -> float:
        """The area of the box in pixels."""
        return (self.bbox[2] - self.bbox[0]) * (self.bbox[3] - self.bbox[1])

    @property
    def aspect(self) -> float:
        """The picture's long side over its short one."""
        return max(self.size) / min(self.size)


@dataclass(frozen=True)
class Case:
    """A scored answer.

    Attributes:
        target: the annotation.
        text: the answer.
        boxes: the parsed boxes in pixels, up to the first hit or the first part that cannot be parsed.
        readable: whether every part up to the first hit could be parsed.
        iou: the best of the boxes; 0 without any.
    """

    target: Target
    text: str
    boxes: tuple[Box, ...]
    readable: bool
    iou: float

    @property
    def hit(self) -> bool:
        """Whether a box is right."""
        return self.iou >= HIT


def read_annotations(path: Path) -> dict[int | str, Target]:
    """Reads annotations by ``sent_id``, in the file's order.

    Raises:
        InputError: a line is malformed, an id comes twice, or there is none; names the line.
    """
    targets: dict[int | str, Target] = {}
    for number, row in numbered_jsonl(path):
        where = f"{path}, line {number}"
        target = _target(row, new_id(row, "sent_id", where, targets), where)
        targets[target.sent_id] = target
    if not targets:
        raise InputError(f"{path} holds no annotation.")
    return targets


def _target(row: Mapping[str, Any], identity: int | str, where: str) -> Target:
    texts = [row.get(name) for name in ("expression", "img_path")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{where}: needs an 'expression' and an 'img_path', both texts; it has {', '.join(row)}.")
    width, height = row.get("width"), row.get("height")
    check_text(f"{texts[0]}{texts[1]}", where)
    if not all(type(side) is int and 0 < side <= LONGEST_SIDE for side in (width, height)):
        raise InputError(
            f"{where}: 'width' and 'height' are {spelled(width)} and {spelled(height)}; they must be "
            f"pixels, in 1..{LONGEST_SIDE}."
        )
    bbox = row.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(edge) for edge in bbox):
        raise InputError(f"{where}: 'bbox' is {spelled(bbox)}; it must be [x1, y1, x2, y2] in pixels.")
    x1, y1, x2, y2 = map(float, bbox)
    if not (x1 < x2 and y1 < y2):
        raise InputError(
            f"{where}: 'bbox' {bbox} is empty or reversed. It must be [x1, y1, x2, y2], not x, y, width, height."
        )
    return Target(identity, str(texts[0]), str(texts[1]), (x1, y1, x2, y2), (int(width or 0), int(height or 0)))


def id_of(row: Mapping[str, Any], name: str, where: str) -> int | str:
    """The id that a row names; raises :class:`InputError` unless it is a whole number or a text."""
    value = row.get(name)
    if type(value) is not int and not isinstance(value, str):
        raise InputError(f"{where}: {name!r} is {spelled(value)}; it must be a whole number or a text.")
    return value


def new_id(row: Mapping[str, Any], name: str, where: str, known: Container[int | str]) -> int | str:
    """The row's id; raises :class:`InputError` unless it is a whole number or a text, and not yet known."""
    value = id_of(row, name, where)
    if value in known:
        raise InputError(f"{where}: {name} {spelled(value)} is there already. Each may come once.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LONGEST_SIDE


def read_predictions(path: Path, targets: Mapping[int | str, Target]) -> dict[int | str, str]:
    """Reads answers by ``question_id``.

    Raises:
        InputError: a line is malformed, an id comes twice, or answers and annotations do not cover each other.
    """
    answers: dict[int | str, str] = {}
    for number, row in numbered_jsonl(path):
        where = f"{path}, line {number}"
        identity = new_id(row, "question_id", where, answers)
        if not isinstance(row.get("text"), str):
            raise InputError(f"{where}: 'text' is {spelled(row.get('text'))}; it must be the model's answer.")
        if len(row["text"]) > LONGEST_ANSWER:
            raise InputError(f"{where}: 'text' has more than {LONGEST_ANSWER} characters. Is it a model's answer?")
        answers[identity] = row["text"]
    unknown = [identity for identity in answers if identity not in targets]
    if unknown:
        raise InputError(
            f"{len(unknown)} predictions in {path} have no annotation: question_id {_few(unknown)}. Do the files "
            "belong together?"
        )
    absent = [identity for identity in targets if identity not in answers]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(targets)} annotations have no prediction in {path}: sent_id {_few(absent)}. Was "
            "the run finished?"
        )
    return answers


def _few(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:5])) + (", …" if len(names) > 5 else "")


def score_answer(target: Target, text: str) -> Case:
    """Scores one answer as the published scorer does.

    The answer is split at ``"; "``. Each part in turn is parsed as a Python literal, whose first four numbers are a
    box; the first box with an IoU of at least 0.5 is a hit. A part that cannot be parsed ends the search, even if a
    later box would hit. (The published scorer runs each part with ``eval``; here anything but a literal is unreadable.)
    """
    boxes: list[Box] = []
    best = 0.0
    for part in text.split("; "):
        box = _published_box(part, target.size)
        if box is None:
            return Case(target, text, tuple(boxes), False, best)
        boxes.append(box)
        overlap = iou(box, target.bbox) if all(map(math.isfinite, box)) else 0.0
        best = max(best, overlap)
        if overlap >= HIT:
            break
    return Case(target, text, tuple(boxes), True, best)


def _published_box(part: str, size: tuple[int, int]) -> Box | None:
    """The part's box in pixels, or None where the published scorer would fail."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd literals in the model's answer
            value = ast.literal_eval(part.lstrip(" \t"))
        x1, y1, x2, y2 = unpad_box([value[index] for index in range(4)], size)
        return float(x1), float(y1), float(x2), float(y2)
    except (ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, MemoryError, RecursionError):
        return None


def score(targets: Mapping[int | str, Target], answers: Mapping[int | str, str]) -> list[Case]:
    """Scores every annotation's answer, in the annotations' order."""
    return [score_answer(target, answers[identity]) for identity, target in targets.items()]


def summarize(cases: Sequence[Case]) -> dict[str, Any]:
    """Measures of scored answers.

    Returns:
        ``precision_at_0.5``, ``tp`` and ``fp`` as the published scorer prints them; ``interval_95``, Wilson's score
        interval of the precision; ``unreadable`` answers; ``mean_iou`` with ``mean_iou_interval_95`` (bootstrap over
        pictures); ``precision_at``, by IoU threshold; ``iou_histogram``, cases in ten equal bins from 0 to 1; and
        ``by_size`` (of the target) and ``by_aspect`` (of the picture), each group with ``count``, ``precision_at_0.5``,
        ``interval_95`` and ``mean_iou``.
    """
    overall = _group(cases)
    hits = sum(case.hit for case in cases)
    pictures: dict[str, list[float]] = {}
    for case in cases:
        pictures.setdefault(case.target.img_path, []).append(case.iou)
    groups = pictures.values()
    interval = bootstrap_interval([*map(sum, groups)], [*map(len, groups)], bounds=(0.0, 1.0))
    histogram = [0] * BINS
    for case in cases:
        histogram[min(BINS - 1, int(case.iou * BINS))] += 1
    return {
        "precision_at_0.5": overall["precision_at_0.5"],
        "tp": hits,
        "fp": len(cases) - hits,
        "interval_95": overall["interval_95"],
        "unreadable": sum(not case.readable for case in cases),
        "mean_iou": overall["mean_iou"],
        "mean_iou_interval_95": list(interval),
        "precision_at": {str(t): sum(case.iou >= t for case in cases) / len(cases) for t in THRESHOLDS},
        "iou_histogram": histogram,
        "by_size": _groups(cases, SIZES, [case.target.area for case in cases], inclusive=False),
        "by_aspect": _groups(cases, ASPECTS, [case.target.aspect for case in cases], inclusive=True),
    }


def _groups(
    cases: Sequence[Case], groups: Sequence[tuple[str, float]], values: Sequence[float], *, inclusive: bool
) -> dict[str, dict[str, Any]]:
    members: dict[str, list[Case]] = {name: [] for name, _ in groups}
    for case, value in zip(cases, values, strict=True):
        name = next(name for name, limit in groups if value < limit or (inclusive and value == limit))
        members[name].append(case)
    return {name: _group(chosen) for name, chosen in members.items() if chosen}


def _group(cases: Sequence[Case]) -> dict[str, Any]:
    """The measures that every group of cases has."""
    hits = sum(case.hit for case in cases)
    return {
        "count": len(cases),
        "precision_at_0.5": hits / len(cases),
        "interval_95": list(wilson_interval(hits, len(cases))),
        "mean_iou": sum(case.iou for case in cases) / len(cases),
    }

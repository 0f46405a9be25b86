"""Compares two runs on the same questions: what their scores differ by, paired, with an interval.

Two scores of one benchmark depend on the same pictures, so their own intervals overlap long before a difference is
chance. Here it is the differences themselves that are resampled, by picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..shapes.evaluate import IOU_HIT, SceneScore
from .mme import COGNITION, PERCEPTION, Answer, picture_scores, score_category
from .refcoco import Case
from .statistics import bootstrap_interval, bootstrap_sum_interval


def compare_refcoco(first: Sequence[Case], second: Sequence[Case]) -> dict[str, Any]:
    """Two runs on one split.

    Args:
        first: cases of the one run.
        second: those of the other, of the same targets in the same order.

    Returns:
        ``precision_at_0.5`` and ``mean_iou``, each with ``first``, ``second``, ``difference`` (second minus first) and
        its ``interval_95``; ``count``; ``only_first`` and ``only_second``, answers that are right in one run alone.
    """
    pictures = [case.target.img_path for case in first]
    only = [(a.hit, b.hit) for a, b in zip(first, second, strict=True)]
    return {
        "precision_at_0.5": compare_means([c.hit for c in first], [c.hit for c in second], pictures),
        "mean_iou": compare_means([c.iou for c in first], [c.iou for c in second], pictures),
        **discordant_counts(only),
    }


def compare_shapes(first: Sequence[SceneScore], second: Sequence[SceneScore]) -> dict[str, Any]:
    """Two runs on the demo's scenes.

    Args:
        first: of the one run.
        second: of the other, the same scenes in the same order.

    Returns:
        ``single_precision``, ``single_iou``, ``vqa``, ``caption_exact`` and ``text``, as of :func:`compare_refcoco`;
        ``count``, scenes; ``only_first`` and ``only_second``, answers that are right in one run alone.

    Raises:
        InputError: the runs are not about the same scenes.
    """
    if [_asked(scene) for scene in first] != [_asked(scene) for scene in second]:
        raise InputError("The runs are about other scenes. Compare runs with the same --scenes of the same version.")
    compared: dict[str, Any] = {}
    only: list[tuple[float, float]] = []
    for name, values in _OF_SCENES.items():
        of = [
            (scene.seed, a, b)
            for scene, other in zip(first, second, strict=True)
            for a, b in zip(values(scene), values(other), strict=True)
        ]
        if of:
            seeds, before, after = zip(*of, strict=True)
            compared[name] = compare_means(before, after, seeds)
        if name != "single_iou":
            only += [(a, b) for _, a, b in of]
    return compared | discordant_counts(only) | {"count": len(first)}


_OF_SCENES: dict[str, Callable[[SceneScore], Sequence[float]]] = {
    "single_precision": lambda scene: [iou >= IOU_HIT for iou in scene.ious],
    "single_iou": lambda scene: scene.ious,
    "vqa": lambda scene: scene.questions,
    "caption_exact": lambda scene: [scene.caption],
    "text": lambda scene: [scene.text],
}


def _asked(scene: SceneScore) -> tuple[int, int, int]:
    return scene.seed, len(scene.ious), len(scene.questions)


def discordant_counts(right: Sequence[tuple[float, float]]) -> dict[str, int]:
    """Counts of answers that two runs share (McNemar's discordant pairs).

    Args:
        right: for each answer whether it is right in the first run, and whether in the second.

    Returns:
        ``count`` of all; ``only_first`` and ``only_second``, right in one run alone.
    """
    return {
        "count": len(right),
        "only_first": right.count((True, False)),
        "only_second": right.count((False, True)),
    }


def compare_means(first: Sequence[float], second: Sequence[float], pictures: Sequence[Hashable]) -> dict[str, Any]:
    """The means of paired values, what they differ by, and the interval of that over pictures (bootstrap).

    Args:
        first: of the one run.
        second: of the other, in the same order.
        pictures: what each is about; values on one picture are resampled together.
    """
    differences = defaultdict[Hashable, list[float]](list)
    for picture, a, b in zip(pictures, first, second, strict=True):
        differences[picture].append(b - a)
    groups = differences.values()
    interval = bootstrap_interval([*map(sum, groups)], [*map(len, groups)])
    return _difference(sum(first) / len(first), sum(second) / len(second), interval)


def _difference(first: float, second: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"first": first, "second": second, "difference": second - first, "interval_95": list(interval)}


def compare_mme(first: Mapping[str, Sequence[Answer]], second: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Two runs of MME.

    Args:
        first: answers of the one run, by category.
        second: those of the other.

    Returns:
        ``perception``, ``cognition`` and ``scores`` by category, each with ``first``, ``second``, ``difference`` and
        its ``interval_95``; ``count``, questions; ``only_first`` and ``only_second``, as of :func:`compare_refcoco`.

    Raises:
        InputError: the runs are not about the same questions.
    """
    if set(first) != set(second):
        raise InputError(f"One run alone has {', '.join(sorted(set(first) ^ set(second)))}. Compare what both have.")
    differences, scores = {}, {}
    only: list[tuple[bool, bool]] = []
    for name in first:
        of = [{(a.image, a.question, a.truth): a for a in run[name]} for run in (first, second)]
        if of[0].keys() != of[1].keys():
            odd = sorted(of[0].keys() ^ of[1].keys())[0]
            raise InputError(f"{name}: {odd[0]} {odd[1]!r} is in one run alone. Compare runs on the same questions.")
        paired = [of[1][key] for key in of[0]]
        only += [(a.right, b.right) for a, b in zip(first[name], paired, strict=True)]
        before, after = picture_scores(first[name]), picture_scores(paired)
        differences[name] = [b - a for a, b in zip(before, after, strict=True)]
        interval = bootstrap_sum_interval([differences[name]])
        scores[name] = _difference(score_category(first[name]), score_category(paired), interval)
    sums = {}
    for title, names in (("perception", PERCEPTION), ("cognition", COGNITION)):
        there = [name for name in names if name in scores]
        interval = bootstrap_sum_interval([differences[name] for name in there])
        before_all, after_all = (sum(scores[name][run] for name in there) for run in ("first", "second"))
        sums[title] = _difference(before_all, after_all, interval)
    return sums | {"scores": scores} | discordant_counts(only)

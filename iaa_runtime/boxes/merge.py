"""Merges the boxes of several searches: without duplicates, as unions or as intersections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import Cancel, InputError, check_cancelled
from .bounding_box import BoxDict, Boxes, corners, from_corners, has_score, label_of, relabelled, repeated, score_of
from .geometry import best_of_overlapping, intersection, pairwise_iou

JOIN, BEST, UNION, INTERSECTION, AROUND = (
    "all",
    "best of overlapping",
    "union of overlapping",
    "intersection",
    "one around all",
)
MOST_PAIRS = 1 << 24
"""Boxes of an image times boxes that they are compared with: 4096 each, which take less than a second."""
MOST_COMMON = 1 << 16
"""Common parts of an image's boxes: what all of them share with all of them is nobody's selection."""
MOST_LETTERS = 1 << 26
"""Characters of the labels of an image's common parts, each of which has those of all that share it."""
MODES = (BEST, UNION, INTERSECTION, JOIN, AROUND)


def merge_boxes(
    searches: Sequence[Boxes],
    mode: str = BEST,
    threshold: float = 0.5,
    same_label: bool = False,
    cancelled: Cancel = None,
) -> Boxes:
    """Merges what several searches found in the same images; each image by itself.

    Boxes overlap if their IoU is at least ``threshold`` and not 0.

    Args:
        searches: One or more results with equally many lists; one with a single list serves every image.
        mode: ``BEST`` keeps the best scoring box of those that overlap (greedy non-maximum suppression), ``UNION``
            puts one box around each chain of overlapping ones, ``INTERSECTION`` keeps the common part of overlapping
            boxes of all searches, ``JOIN`` keeps all, ``AROUND`` puts one box around all.
        threshold: IoU, 0..1; 0 is any overlap.
        same_label: Only boxes with the same label overlap; ``Dog`` is ``dog``.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every image.

    Returns:
        One list per image. Merged boxes carry the labels of their parts, each once, joined by commas; the score is
        that of the best part, for intersections that of the worst. Other keys are those of the best part.

    Raises:
        InputError: If there is no such mode, the searches are of different numbers of images, or there are more than
            ``MOST_PAIRS`` boxes to compare, ``MOST_COMMON`` common parts, or ``MOST_LETTERS`` in their labels.
    """
    if mode not in MODES:
        raise InputError(f"There is no way to merge called {mode!r}. Choose one of: {', '.join(MODES)}.")
    count = max(map(len, searches))
    merged = []
    for found in zip(*(repeated(boxes, count) for boxes in searches), strict=True):
        check_cancelled(cancelled)
        merged.append(_merged(found, mode, threshold, same_label))
    return merged


def _merged(searches: Sequence[list[BoxDict]], mode: str, threshold: float, same_label: bool) -> list[BoxDict]:
    """What several searches found in one image."""
    if mode == INTERSECTION:
        return _intersection(searches, threshold, same_label)
    joined = [box for boxes in searches for box in boxes]
    if mode == JOIN or len(joined) < 2:
        return joined
    if mode == AROUND:
        return [_around(joined)]
    return (_best if mode == BEST else _unions)(joined, threshold, same_label)


class _Overlaps:
    """Which boxes of an image overlap, told a row at a time: a table of all pairs would take a gigabyte.

    Args:
        boxes: N boxes.
        others: M boxes that they are compared with.
        threshold: the least IoU.
        same_label: whether only boxes with the same label overlap.
    """

    def __init__(self, boxes: Sequence[BoxDict], others: Sequence[BoxDict], threshold: float, same_label: bool) -> None:
        if len(boxes) * len(others) > MOST_PAIRS:
            raise InputError(
                f"There are {len(boxes)} times {len(others)} boxes to compare in an image, and {MOST_PAIRS} pairs are "
                "the most. Keep fewer before they are merged: IAA Select Boxes has a 'limit'."
            )
        self._threshold = threshold
        self._edges = [np.array([corners(box) for box in found], dtype=np.float64) for found in (boxes, others)]
        labels = [[_label([box]).casefold() if same_label else "" for box in found] for found in (boxes, others)]
        numbers = {label: number for number, label in enumerate({*labels[0], *labels[1]})}
        self._labels = [np.array([numbers[label] for label in found], dtype=np.int64) for found in labels]

    def among(self, index: int, rest: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the others numbered in ``rest`` overlap with the box ``index``; booleans of the same length."""
        shared = pairwise_iou(self._edges[0][index], self._edges[1][rest])[0]
        overlapping: npt.NDArray[np.bool_] = (shared > 0) & (shared >= self._threshold)
        overlapping &= self._labels[1][rest] == self._labels[0][index]
        return overlapping


def _best(boxes: list[BoxDict], threshold: float, same_label: bool) -> list[BoxDict]:
    """Greedy non-maximum suppression; what is kept stays in its order."""
    overlaps = _Overlaps(boxes, boxes, threshold, same_label)
    return [boxes[index] for index in best_of_overlapping([score_of(box) for box in boxes], overlaps.among)]


def _unions(boxes: list[BoxDict], threshold: float, same_label: bool) -> list[BoxDict]:
    """One box around each connected group, at the place of the group's first box."""
    overlaps = _Overlaps(boxes, boxes, threshold, same_label)
    groups: list[list[int]] = []
    rest = np.arange(len(boxes))
    while len(rest):
        group, rest = [int(rest[0])], rest[1:]
        for index in group:  # grows while it is walked through
            near = overlaps.among(index, rest)
            group += rest[near].tolist()
            rest = rest[~near]
        groups.append(sorted(group))
    return [_around([boxes[index] for index in group]) for group in groups]


def _around(boxes: list[BoxDict]) -> BoxDict:
    """The smallest box around all of them."""
    if len(boxes) == 1:
        return boxes[0]
    x1, y1, x2, y2 = zip(*map(corners, boxes), strict=True)
    return _combined(boxes, (min(x1), min(y1), max(x2), max(y2)), max(map(score_of, boxes)))


def _intersection(searches: Sequence[list[BoxDict]], threshold: float, same_label: bool) -> list[BoxDict]:
    """The common parts of one image's boxes, search by search."""
    common = list(searches[0])
    for boxes in searches[1:]:
        if not common or not boxes:
            return []
        overlaps, every = _Overlaps(common, boxes, threshold, same_label), np.arange(len(boxes))
        pairs: list[tuple[int, int]] = []
        for i in range(len(common)):
            pairs += [(i, j) for j in np.flatnonzero(overlaps.among(i, every)).tolist()]
            if len(pairs) > MOST_COMMON:
                raise InputError(
                    f"More than {MOST_COMMON} pairs of boxes overlap in an image, of which each would become a box. "
                    "Keep fewer before they are merged: IAA Select Boxes has a 'limit'."
                )
        if sum(len(label_of(common[i])) + len(label_of(boxes[j])) for i, j in pairs) > MOST_LETTERS:
            raise InputError(
                f"The labels of the {len(pairs)} common parts of an image's boxes have more than {MOST_LETTERS} "
                "characters. Use shorter labels."
            )
        common = [_shared(common[i], boxes[j]) for i, j in pairs]
    return common


def _shared(first: BoxDict, second: BoxDict) -> BoxDict:
    edges = intersection(corners(first), corners(second))
    assert edges is not None  # they overlap
    return _combined([first, second], edges, min(score_of(first), score_of(second)))


def _combined(boxes: list[BoxDict], edges: Sequence[float], score: float) -> BoxDict:
    """One box for several: the other keys of the best, every label once; a score if any had one."""
    best = max(boxes, key=score_of)
    box = from_corners(edges, best)
    if any(map(has_score, boxes)):
        box["score"] = score
    label = _label(boxes)
    return relabelled(box, label) if label else box


def _label(boxes: Iterable[BoxDict]) -> str:
    """The labels of all, each once in its first spelling: ``Dog`` for ``Dog`` and ``dog``."""
    parts: dict[str, str] = {}
    for box in boxes:
        for part in label_of(box).split(", "):
            parts.setdefault(part.casefold(), part)
    return ", ".join(filter(None, parts.values()))

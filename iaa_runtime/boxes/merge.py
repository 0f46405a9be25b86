"""Merges the boxes of several searches: without duplicates, as unions or as intersections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .bounding_box import BoxDict, Boxes, corners, from_corners, label_of, relabelled, repeated, score_of
from .geometry import intersection, pairwise_iou

JOIN, BEST, UNION, INTERSECTION, AROUND = (
    "all",
    "best of overlapping",
    "union of overlapping",
    "intersection",
    "one around all",
)
MOST_PAIRS = 1 << 24
"""Boxes of an image times boxes that they are compared with: 4096 each, which take a second and a gigabyte."""
MOST_COMMON = 1 << 16
"""Common parts of an image's boxes: what all of them share with all of them is nobody's selection."""
MODES = (BEST, UNION, INTERSECTION, JOIN, AROUND)


def merge_boxes(searches: Sequence[Boxes], mode: str = BEST, threshold: float = 0.5, same_label: bool = False) -> Boxes:
    """Merges what several searches found in the same images; each image by itself.

    Boxes overlap if their IoU is at least ``threshold`` and not 0.

    Args:
        searches: One or more results with equally many lists; one with a single list serves every image.
        mode: ``BEST`` keeps the best scoring box of those that overlap (greedy non-maximum suppression), ``UNION``
            puts one box around each chain of overlapping ones, ``INTERSECTION`` keeps the common part of overlapping
            boxes of all searches, ``JOIN`` keeps all, ``AROUND`` puts one box around all.
        threshold: IoU, 0..1; 0 is any overlap.
        same_label: Only boxes with the same label overlap.

    Returns:
        One list per image. Merged boxes carry the labels of their parts, each once, joined by commas; the score is
        that of the best part, for intersections that of the worst. Other keys are those of the best part.

    Raises:
        InputError: If there is no such mode, the searches are of different numbers of images, or there are more than
            ``MOST_PAIRS`` boxes to compare, or ``MOST_COMMON`` common parts.
    """
    if mode not in MODES:
        raise InputError(f"There is no way to merge called {mode!r}. Choose one of: {', '.join(MODES)}.")
    count = max(map(len, searches))
    images = zip(*(repeated(boxes, count) for boxes in searches), strict=True)
    if mode == INTERSECTION:
        return [_intersection(found, threshold, same_label) for found in images]
    joined = [[box for boxes in found for box in boxes] for found in images]
    if mode == BEST:
        return [_best(boxes, threshold, same_label) for boxes in joined]
    if mode == UNION:
        return [_unions(boxes, threshold, same_label) for boxes in joined]
    return [[_around(boxes)] if boxes else [] for boxes in joined] if mode == AROUND else joined


def _overlaps(
    first: Sequence[BoxDict], second: Sequence[BoxDict], threshold: float, same_label: bool
) -> npt.NDArray[np.bool_]:
    """(N, M) booleans: which boxes count as overlapping."""
    if len(first) * len(second) > MOST_PAIRS:
        raise InputError(
            f"There are {len(first)} times {len(second)} boxes to compare in an image, and {MOST_PAIRS} pairs are the "
            "most. Keep fewer before they are merged: IAA Select Boxes has a 'limit'."
        )
    shared = pairwise_iou([corners(box) for box in first], [corners(box) for box in second])
    overlapping: npt.NDArray[np.bool_] = (shared > 0) & (shared >= threshold)
    if same_label:
        a, b = (np.array([label_of(box).casefold() for box in boxes], dtype=object) for boxes in (first, second))
        overlapping &= a[:, None] == b[None]
    return overlapping


def _best(boxes: list[BoxDict], threshold: float, same_label: bool) -> list[BoxDict]:
    """Greedy non-maximum suppression; what is kept stays in its order."""
    overlapping = _overlaps(boxes, boxes, threshold, same_label)
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: -score_of(boxes[index])):
        if not overlapping[index, kept].any():
            kept.append(index)
    return [boxes[index] for index in sorted(kept)]


def _unions(boxes: list[BoxDict], threshold: float, same_label: bool) -> list[BoxDict]:
    """One box around each connected group, at the place of the group's first box."""
    overlapping = _overlaps(boxes, boxes, threshold, same_label)
    groups: list[list[int]] = []
    rest = list(range(len(boxes)))
    while rest:
        group = [rest.pop(0)]
        for index in group:  # grows while it is walked through
            near = [other for other in rest if overlapping[index, other]]
            group += near
            rest = [other for other in rest if other not in near]
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
        overlapping = _overlaps(common, boxes, threshold, same_label)
        if np.count_nonzero(overlapping) > MOST_COMMON:
            raise InputError(
                f"More than {MOST_COMMON} pairs of boxes overlap in an image, of which each would become a box. Keep "
                "fewer before they are merged: IAA Select Boxes has a 'limit'."
            )
        common = [_shared(common[i], boxes[j]) for i, j in np.argwhere(overlapping)]
    return common


def _shared(first: BoxDict, second: BoxDict) -> BoxDict:
    edges = intersection(corners(first), corners(second))
    assert edges is not None  # they overlap
    return _combined([first, second], edges, min(score_of(first), score_of(second)))


def _combined(boxes: list[BoxDict], edges: Sequence[float], score: float) -> BoxDict:
    """One box for several: the other keys of the best, every label once; a score if any had one."""
    best = max(boxes, key=score_of)
    box = from_corners(edges, best)
    if any(other.get("score") is not None for other in boxes):
        box["score"] = score
    label = ", ".join(_once(part for other in boxes for part in label_of(other).split(", ")))
    return relabelled(box, label) if label else box


def _once(parts: Iterable[str]) -> list[str]:
    return [part for part in dict.fromkeys(parts) if part]

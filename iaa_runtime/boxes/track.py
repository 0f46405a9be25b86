"""Follows boxes through the frames of a video: which box of one frame is which of the next.

Per frame, boxes are assigned to the tracks that there are so that the sum of their overlaps is largest (the assignment
problem, solved by ``scipy.optimize.linear_sum_assignment``), as in SORT (Bewley et al. 2016, arXiv 1602.00763). Where a
track is expected is its last box, moved on as it moved lately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config.boxes import Tracking
from ..errors import Cancel, InputError, check_cancelled
from .bounding_box import BoxDict, Boxes, check_count, corners, from_corners, has_score, label_of, relabelled, score_of
from .geometry import pairwise_iou

MOST_IN_FRAME = 1000
"""Boxes of a frame, and tracks that are looked for in it: assigning so many takes a third of a second."""
RECENT = 5
"""Frames that tell how a track moves: of one step alone, half would be chance."""

_Edges = npt.NDArray[np.float64]


@dataclass
class _Track:
    """The boxes of one thing by frame, and their edges."""

    boxes: dict[int, BoxDict] = field(default_factory=dict)
    edges: dict[int, _Edges] = field(default_factory=dict)

    def add(self, frame: int, box: BoxDict) -> None:
        """Appends the box of a later frame."""
        self.boxes[frame], self.edges[frame] = box, np.array(corners(box), dtype=np.float64)

    @property
    def last(self) -> int:
        """The last frame in which it was seen."""
        return next(reversed(self.edges))

    def expected(self, frame: int) -> _Edges:
        """Where it is in a later frame, if its centre moves on as it did between its ``RECENT`` last boxes."""
        seen = list(self.edges)[-RECENT:]
        first, last = (self.edges[number].reshape(2, 2).mean(0) for number in (seen[0], seen[-1]))
        step = (last - first) / max(1, seen[-1] - seen[0]) * (frame - seen[-1])
        expected: _Edges = self.edges[seen[-1]] + np.concatenate([step, step])
        return expected


def track_boxes(boxes: Boxes, tracking: Tracking | None = None, cancelled: Cancel = None) -> Boxes:
    """Gives the boxes of a video's frames their identities.

    Args:
        boxes: one list per frame, in their order.
        tracking: how; its defaults if None.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every frame.

    Returns:
        One list per frame, in the order of the tracks. Each box has ``track``, its number from 1, in the order in which
        tracks begin. Boxes that fill a gap lie on the straight way across it, have the lower score of its ends, and
        ``filled: True``. Nothing is dropped.

    Raises:
        InputError: scipy is not installed, or there are more than ``MOST_IN_FRAME`` boxes or tracks in a frame, or more
            than ``MOST_BOXES`` with those that fill gaps.
    """
    tracking = tracking or Tracking()
    tracks = _followed(boxes, tracking, cancelled)
    _fill(tracks, cancelled)
    framed: Boxes = [[] for _ in boxes]
    for number, track in enumerate(tracks, 1):
        check_cancelled(cancelled)
        for frame, box in _smoothed(track, tracking.smoothing):
            framed[frame].append({**box, "track": number})
    return framed


def named_tracks(boxes: Boxes) -> Boxes:
    """The boxes of :func:`track_boxes` with their track in their labels: ``the dog #2``."""
    return [[relabelled(box, f"{label_of(box)} #{box['track']}".strip()) for box in found] for found in boxes]


def unnamed_tracks(boxes: Boxes) -> Boxes:
    """What :func:`named_tracks` named, with the labels from before: who follows boxes anew numbers them anew."""
    return [[_unnamed(box) for box in found] for found in boxes]


def _unnamed(box: BoxDict) -> BoxDict:
    label, number = f" {label_of(box)}", f" #{box.get('track')}"
    return relabelled(box, label.removesuffix(number).strip()) if label.endswith(number) else box


def _followed(boxes: Boxes, tracking: Tracking, cancelled: Cancel) -> list[_Track]:
    """The tracks, in the order of their first boxes."""
    assign = _solver()
    tracks: list[_Track] = []
    open_tracks: list[_Track] = []
    for frame, found in enumerate(boxes):
        check_cancelled(cancelled)
        open_tracks = [track for track in open_tracks if frame - track.last <= tracking.gap + 1]
        if max(len(found), len(open_tracks)) > MOST_IN_FRAME:
            raise InputError(
                f"There are {len(found)} boxes and {len(open_tracks)} tracks in frame {frame + 1}, and "
                f"{MOST_IN_FRAME} are the most. Keep fewer: IAA Select Boxes has a 'limit'."
            )
        taken = dict(_assigned(found, open_tracks, frame, tracking, assign))
        for index, box in enumerate(found):
            track = open_tracks[taken[index]] if index in taken else _Track()
            if index not in taken:
                tracks.append(track)
                open_tracks.append(track)
            track.add(frame, box)
    return tracks


def _assigned(
    found: Sequence[BoxDict], tracks: Sequence[_Track], frame: int, tracking: Tracking, assign: Callable[..., Any]
) -> Iterator[tuple[int, int]]:
    """Pairs of a box and its track, by their indices."""
    if not found or not tracks:
        return
    overlaps = pairwise_iou([corners(box) for box in found], [track.expected(frame) for track in tracks])
    overlaps[overlaps < tracking.iou] = 0
    if tracking.same_label:
        overlaps[~_same_labels(found, [track.boxes[track.last] for track in tracks])] = 0
    for row, column in zip(*assign(overlaps, maximize=True), strict=True):
        if overlaps[row, column] > 0:
            yield int(row), int(column)


def _same_labels(found: Sequence[BoxDict], others: Sequence[BoxDict]) -> npt.NDArray[np.bool_]:
    """(N, M): whether each of N boxes has the label of each of M others."""
    labels = [[label_of(box).casefold() for box in boxes] for boxes in (found, others)]
    numbers = {label: number for number, label in enumerate({*labels[0], *labels[1]})}
    own, theirs = (np.array([numbers[label] for label in each], dtype=np.int64) for each in labels)
    same: npt.NDArray[np.bool_] = own[:, None] == theirs
    return same


def _fill(tracks: Sequence[_Track], cancelled: Cancel) -> None:
    """Puts boxes into the gaps of tracks."""
    check_count(sum(track.last - next(iter(track.boxes)) + 1 for track in tracks))
    for track in tracks:
        check_cancelled(cancelled)
        seen = list(track.boxes)
        for before, after in pairwise(seen):
            for frame in range(before + 1, after):
                part = (frame - before) / (after - before)
                edges = track.edges[before] * (1 - part) + track.edges[after] * part
                track.edges[frame] = edges
                track.boxes[frame] = _filling(track.boxes[before], track.boxes[after], edges)


def _filling(before: BoxDict, after: BoxDict, edges: _Edges) -> BoxDict:
    """A box between two of a track."""
    scored = {"score": min(score_of(before), score_of(after))} if any(map(has_score, (before, after))) else {}
    return {**from_corners(edges.tolist(), before), **scored, "filled": True}


def _smoothed(track: _Track, reach: int) -> Iterator[tuple[int, BoxDict]]:
    """A track's frames and boxes, each averaged over as many frames before as behind it, near its ends over fewer.

    So whatever moves evenly stays where it is.
    """
    frames = sorted(track.edges)
    edges = np.array([track.edges[frame] for frame in frames])
    sums = np.concatenate([np.zeros((1, 4)), edges.cumsum(0)])
    for index, frame in enumerate(frames):
        near = min(reach, index, len(frames) - 1 - index)
        mean = (sums[index + near + 1] - sums[index - near]) / (2 * near + 1)
        yield frame, from_corners(mean.tolist(), track.boxes[frame]) if near else track.boxes[frame]


def _solver() -> Callable[..., Any]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise InputError(
            "Boxes are followed with scipy, which is not installed. ComfyUI brings it; elsewhere: pip install scipy."
        ) from None
    return linear_sum_assignment  # type: ignore[no-any-return]

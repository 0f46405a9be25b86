"""Selects boxes by label, score, size and position, sorts them, and picks some by number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import Cancel, InputError, check_cancelled, spelled
from .bounding_box import LARGEST, BoxDict, Boxes, corners, from_corners, label_of, score_of, shown
from .geometry import pixel_rectangle

ORDERS: dict[str, Callable[[BoxDict], float]] = {
    "as given": lambda box: 0,
    "best score first": lambda box: -score_of(box),
    "largest first": lambda box: -box["width"] * box["height"],
    "smallest first": lambda box: box["width"] * box["height"],
    "left to right": lambda box: box["x"] + box["width"] / 2,
    "right to left": lambda box: -box["x"] - box["width"] / 2,
    "top to bottom": lambda box: box["y"] + box["height"] / 2,
    "bottom to top": lambda box: -box["y"] - box["height"] / 2,
}
"""Sort keys by name; positions are those of the boxes' centres, and boxes that tie keep their order."""

LONGEST_INDICES = 300_000
"""Characters of numbers to pick by; ComfyUI reads them while nobody else is served."""
MOST_LOOKUPS = 1 << 19
"""Numbers to pick by times images that they are looked up in."""
MOST_LETTERS = 1 << 25
"""Characters of labels and patterns that are compared, pair by pair."""
MOST_PAIRS = 1 << 24
"""Boxes times regions of the same image that they may be inside of."""

_PAIR = 64
"""Characters that could be compared in the time that a pair takes, however short it is."""
_Ranges = Sequence[tuple[int, int]]
"""Pairs of first and last; from -1 backwards where the first is negative."""
_INDEX = re.compile(r"(-?[0-9]{1,9})(?:-([0-9]{1,9}))?")


@dataclass(frozen=True)
class Selection:
    """What to keep of each image's boxes: filters first, then the order, then the numbers, then the limit.

    Attributes:
        labels: Keep boxes with one of these labels; upper and lower case are the same, ``*`` stands for any letters.
            Nothing keeps all.
        min_score: Keep boxes that score at least this; boxes without a score count as 1.
        min_side: Keep boxes whose shorter side has at least this many pixels.
        max_side: Keep boxes whose longer side has at most this many pixels; 0 is no limit.
        order: A name of ``ORDERS``.
        indices: Which of the boxes in that order, as :func:`pick` parses them.
        limit: At most so many boxes an image; 0 is no limit.
    """

    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    min_side: float = 0.0
    max_side: float = 0.0
    order: str = "as given"
    indices: str = ""
    limit: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"There is no order {self.order!r}. Choose one of: {', '.join(ORDERS)}.")


def select(boxes: Boxes, selection: Selection, inside: Boxes | None = None, cancelled: Cancel = None) -> Boxes:
    """Keeps what a selection asks for.

    Args:
        boxes: One list per image.
        selection: What to keep.
        inside: Keep only boxes whose centre lies in one of these of the same image; as many lists as ``boxes``.
        cancelled: True raises :class:`~iaa_runtime.errors.Cancelled`; asked at every box.

    Returns:
        As many lists; images in which nothing is left have an empty one.

    Raises:
        InputError: If the numbers are none, or there is more to look at than ``MOST_LOOKUPS``, ``MOST_LETTERS`` or
            ``MOST_PAIRS``.
    """
    regions: Sequence[list[BoxDict] | None] = [None] * len(boxes) if inside is None else inside
    pairs = sum(len(found) * len(region or ()) for found, region in zip(boxes, regions, strict=True))
    if pairs > MOST_PAIRS:
        raise InputError(
            f"There are {pairs} pairs of a box and an 'inside' that it may be in, and {MOST_PAIRS} are the most. Give "
            "fewer boxes, or fewer to be inside of."
        )
    ranges = _ranges(selection.indices)
    if len(ranges) * len(boxes) > MOST_LOOKUPS:
        raise InputError(
            f"There are {len(ranges)} 'indices' to look up in {len(boxes)} images, and {MOST_LOOKUPS} lookups are the "
            "most. Use ranges, such as 0-9."
        )
    wanted = _Labels(selection.labels)
    chosen = []
    for found, region in zip(boxes, regions, strict=True):
        kept = _kept(found, selection, wanted, region, cancelled)
        if ranges:
            kept = [kept[index] for index in _picked(len(kept), ranges)]
        chosen.append(kept[: selection.limit] if selection.limit > 0 else kept)
    return chosen


def pick(count: int, indices: str) -> list[int]:
    """Parses numbers such as ``0, 2-4, -1``.

    Args:
        count: How many there are to pick from.
        indices: Numbers from 0, or from -1 backwards, and ranges that include their end, between commas or blanks.
            Nothing means all.

    Returns:
        The positions as written, each once; those that do not exist are left out, since images differ in how many
        boxes they have.

    Raises:
        InputError: If something is not a number or range, or they are longer than ``LONGEST_INDICES``.
    """
    ranges = _ranges(indices)
    return _picked(count, ranges) if ranges else list(range(count))


def _ranges(indices: str) -> _Ranges:
    """What is written, each once; empty where nothing is."""
    if len(indices) > LONGEST_INDICES:
        raise InputError(f"'indices' has {len(indices)} characters, and {LONGEST_INDICES} are the most. Use ranges.")
    words = re.split(r"[,;\s]+", indices.strip(" ,;\n\t"))
    ranges: dict[tuple[int, int], None] = {}
    for word in dict.fromkeys(words if words != [""] else ()):
        match = _INDEX.fullmatch(word)
        if match is None:
            raise InputError(
                f"'indices' holds {spelled(word)}, which is neither a number nor a range. Write for instance: 0, 2-4, "
                "-1."
            )
        ranges[int(match[1]), int(match[2] or match[1])] = None
    return list(ranges)


def _picked(count: int, ranges: _Ranges) -> list[int]:
    """The positions of ranges, each once; in each range only those are walked through that are not taken yet."""
    free, chosen = np.ones(count, dtype=np.bool_), list[int]()
    for start, end in ranges:
        first = start + count if start < 0 else start
        last = first if start == end else end
        if first <= last and last >= 0 and first < count and len(chosen) < count:
            first = max(first, 0)
            new = np.flatnonzero(free[first : last + 1]) + first
            free[new] = False
            chosen += new.tolist()
    return chosen


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern describes the whole text; ``*`` stands for any characters, or none.

    Each part between stars is looked for behind the one before, as early as it stands. That finds a match if there is
    one and takes linear time; a regular expression with many ``.*`` takes exponential time to find that there is none.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return text == pattern
    *middle, last = parts
    position, end = len(first), len(text) - len(last)
    if position > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def first_box(boxes: Boxes, size: tuple[int, int] | None = None) -> BoxDict | None:
    """The first box that an image shows, in whole pixels inside it, as nodes for one box want it.

    Args:
        boxes: One list per image.
        size: (width, height) of the images; without, an image has no end on the right and below.
    """
    width, height = size or (2 * LARGEST, 2 * LARGEST)
    for box in (box for found in boxes for box in shown(found, (width, height))):
        return from_corners(pixel_rectangle(corners(box), (width, height)), box)
    return None


class _Labels:
    """Which labels are wanted; each is compared once, however many boxes have it.

    Args:
        labels: As in :class:`Selection`.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        patterns = {label.strip().casefold() for label in labels}
        self._stars = [pattern for pattern in patterns if "*" in pattern]
        self._all = not patterns
        self._known = dict.fromkeys(patterns.difference(self._stars), True)
        self._letters = 0

    def __call__(self, label: str) -> bool:
        """Whether boxes of this label are kept."""
        label = label.strip().casefold()
        if self._all or label in self._known:
            return self._all or self._known[label]
        self._letters += sum(map(len, self._stars)) + len(self._stars) * (len(label) + _PAIR)
        if self._letters > MOST_LETTERS:
            raise InputError(
                f"There are {len(self._stars)} patterns with stars in 'labels' and very many labels, or long ones, to "
                "compare with them. Write fewer patterns, or keep fewer boxes before."
            )
        self._known[label] = any(matches(label, pattern) for pattern in self._stars)
        return self._known[label]


def _kept(
    boxes: list[BoxDict], selection: Selection, wanted: _Labels, inside: list[BoxDict] | None, cancelled: Cancel
) -> list[BoxDict]:
    """The boxes of one image that pass the filters, in the order that is asked for."""
    regions = None if inside is None else np.array([corners(box) for box in inside], dtype=np.float64).reshape(-1, 4).T

    def passes(box: BoxDict) -> bool:
        check_cancelled(cancelled)
        return (
            score_of(box) >= selection.min_score
            and min(box["width"], box["height"]) >= selection.min_side
            and (selection.max_side <= 0 or max(box["width"], box["height"]) <= selection.max_side)
            and wanted(label_of(box))
            and (regions is None or _centre_in(box, regions))
        )

    return sorted(filter(passes, boxes), key=ORDERS[selection.order])


def _centre_in(box: BoxDict, regions: npt.NDArray[np.float64]) -> bool:
    """Whether the centre of a box lies in one of (4, N) regions."""
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    x1, y1, x2, y2 = regions
    return bool(((x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)).any())

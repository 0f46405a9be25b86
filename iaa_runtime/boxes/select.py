"""Selects boxes by label, score, size and position, sorts them, and picks some by number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import Cancel, InputError, check_cancelled
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
    """
    regions: Sequence[list[BoxDict] | None] = [None] * len(boxes) if inside is None else inside
    return [_select(found, selection, region, cancelled) for found, region in zip(boxes, regions, strict=True)]


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
    if len(indices) > LONGEST_INDICES:
        raise InputError(f"The indices have {len(indices)} characters, and {LONGEST_INDICES} are the most. Use ranges.")
    chosen: dict[int, None] = {}
    words = re.split(r"[,;\s]+", indices.strip(" ,;\n\t"))
    if words == [""]:
        return list(range(count))
    for word in dict.fromkeys(words):
        match = _INDEX.fullmatch(word)
        if match is None:
            raise InputError(
                f"{word!r} in {indices!r} is neither a number nor a range. Write for instance: 0, 2-4, -1."
            )
        start = int(match[1]) + (count if match[1].startswith("-") else 0)
        end = int(match[2]) if match[2] else start
        # Only the part of a range that exists is walked through, however far it is written to go.
        if len(chosen) < count:
            chosen.update(dict.fromkeys(range(max(start, 0), min(end, count - 1) + 1)))
    return list(chosen)


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


def _select(
    boxes: list[BoxDict], selection: Selection, inside: list[BoxDict] | None, cancelled: Cancel
) -> list[BoxDict]:
    patterns = [label.strip().casefold() for label in selection.labels]

    def wanted(box: BoxDict) -> bool:
        check_cancelled(cancelled)
        label = label_of(box).strip().casefold()
        return (
            (not patterns or any(matches(label, pattern) for pattern in patterns))
            and score_of(box) >= selection.min_score
            and min(box["width"], box["height"]) >= selection.min_side
            and (selection.max_side <= 0 or max(box["width"], box["height"]) <= selection.max_side)
            and (inside is None or _centre_in(box, inside))
        )

    kept = sorted(filter(wanted, boxes), key=ORDERS[selection.order])
    kept = [kept[index] for index in pick(len(kept), selection.indices)]
    return kept[: selection.limit] if selection.limit > 0 else kept


def _centre_in(box: BoxDict, regions: list[BoxDict]) -> bool:
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in map(corners, regions))

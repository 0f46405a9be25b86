"""What may be asked about boxes: how they are followed through a video, and how many points each is to have."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

MOST_PER_SIDE = 5
"""Points a side of a box. From a grid of 6 x 6 on, the outermost lie outside of the ellipse that a box holds, so beside
most things."""
MOST_FRAMES = 1000
"""The longest gap, and the most frames on each side of an average."""


@dataclass(frozen=True)
class Tracking:
    """How boxes are followed.

    Attributes:
        iou: least overlap (IoU, above 0 and up to 1) of a box with where its track is expected.
        same_label: a track has boxes of one label alone (upper and lower case are the same).
        gap: frames that a track may be missing and still be found again; the gap is filled. 0 ends it at once.
        smoothing: frames on each side that a box is averaged with; 0 leaves boxes as they are.

    Raises:
        InputError: one of the numbers is out of its range.
    """

    iou: float = 0.3
    same_label: bool = True
    gap: int = 5
    smoothing: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise InputError(f"The least overlap of a track's boxes is {self.iou}. Give one above 0, and at most 1.")
        for name in ("gap", "smoothing"):
            if not 0 <= getattr(self, name) <= MOST_FRAMES:
                raise InputError(f"{name!r} is {getattr(self, name)} frames. Give 0 to {MOST_FRAMES}.")

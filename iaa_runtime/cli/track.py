"""``iaa track``: which box of one frame of a video is which of the next, in what ``iaa ground --json`` printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..boxes.bounding_box import SIDES, BoxDict, as_boxes, label_of, score_of
from ..boxes.track import track_boxes
from ..config.boxes import Tracking
from ..errors import InputError, UsageError
from ..jobs.files import numbered_jsonl, numbered_rows
from .arguments.shared import STDIN
from .found import with_points
from .output import BOX, log, print_json
from .stdin import byte_stream


def run(options: argparse.Namespace) -> int:
    """Prints the frames once more, their boxes with the numbers of their tracks."""
    try:
        tracking = Tracking(options.iou, not options.any_label, options.gap, options.smoothing)
    except InputError as error:
        raise UsageError(str(error)) from None
    frames = list(_frames(options.found))
    tracked = track_boxes([boxes for _, boxes in frames], tracking)
    for (record, _), boxes in zip(frames, tracked, strict=True):
        if options.json:
            print_json(record | {"detections": [with_points(box, options.points) for box in boxes]})
            continue
        print(record["image"])
        for box in boxes:
            sides = {side: round(box[side]) for side in SIDES}
            print(f"  {box['track']} {label_of(box)}: {BOX.format(**sides, score=score_of(box))}")
    count = max((box["track"] for boxes in tracked for box in boxes), default=0)
    log(f"{count} {'track' if count == 1 else 'tracks'} in {len(frames)} {'frame' if len(frames) == 1 else 'frames'}")
    return 0


def _frames(path: str) -> Iterator[tuple[dict[str, Any], list[BoxDict]]]:
    """Records of frames, each with its boxes; a frame that could not be opened has none.

    Raises:
        InputError: a line is no record of a picture; names it.
    """
    name = "stdin" if path == STDIN else path
    rows = numbered_rows(byte_stream(), name) if path == STDIN else numbered_jsonl(Path(path))
    for number, record in rows:
        boxes = record.get("detections", [] if "error" in record else None)
        is_list = isinstance(boxes, list) and all(isinstance(box, dict) for box in boxes)
        if not is_list or not isinstance(record.get("image"), str):
            raise InputError(
                f'{name}, line {number}: needs an "image" and its "detections", as iaa ground --json prints them.'
            )
        try:
            found = as_boxes(boxes)[0] if boxes else []
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
        yield record, [_without_points(box) for box in found]


def _without_points(box: BoxDict) -> BoxDict:
    """Boxes are moved and made here; the points of others would lie beside them."""
    return {key: value for key, value in box.items() if key != "points"}

"""What was found in pictures: printed, and written as pictures, masks and crops."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..boxes.answers import Detection
from ..boxes.grounding import GroundingAnswer
from ..boxes.points import box_points
from ..images.draw import crop_detections, detections_mask, draw_detections
from ..images.names import slug
from ..jobs.files import short_name
from .arguments.shared import STDIN
from .output import BOX, log, print_json
from .outputs import Outputs
from .pictures import numbered, save_picture

_LONGEST_STEM = 255 - len(".png")
"""Bytes of a crop's name."""


def tell(
    options: argparse.Namespace,
    path: str,
    image: Image.Image,
    found: Sequence[Detection],
    phrases: Sequence[str] | None = None,
    answers: Sequence[GroundingAnswer] = (),
) -> None:
    """Prints the boxes of a picture, the ``phrases`` that were looked for, and raw ``answers``, if any."""
    if options.json:
        record: dict[str, Any] = {"image": path} if phrases is None else {"image": path, "phrases": list(phrases)}
        record["detections"] = [with_points(d.to_dict(), options.points) for d in found]
        if answers:
            record["answers"] = [{"phrase": answer.phrase, "text": answer.text} for answer in answers]
        print_json(record)
        return
    print(f"{path} ({image.width}×{image.height}): {_boxes(len(found))}")
    for answer in answers:
        print(f"  {answer.phrase}: {answer.text}")
    for d in found:
        print(f"  {d.label}: {BOX.format(**d.to_dict())}")


class FoundFiles:
    """The files of a run; raises if one would be written over another, or over what is there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._outputs, self._count = options, Outputs(options), len(options.image)
        for option, given in (("--draw", options.draw), ("--mask", options.mask)):
            for number in range(1, self._count + 1) if given else ():
                self._outputs.writes(option, numbered(given, number, self._count))
        if options.crops and not options.overwrite:
            for number, path in enumerate(options.image, 1):
                prefix = glob.escape(self._crop_prefix(path, number))
                for there in Path(options.crops).glob(f"{prefix}-[0-9]*-*.png"):
                    self._outputs.writes("--crops", there)  # which it refuses

    def write(self, path: str, image: Image.Image, found: Sequence[Detection], number: int) -> None:
        """Writes those of the picture that is the ``number``-th, from 1."""
        options, prefix = self._options, self._crop_prefix(path, number)
        crops = [
            Path(options.crops) / f"{short_name(f'{prefix}-{index}-{slug(detection.label)}', _LONGEST_STEM)}.png"
            for index, detection in enumerate(found if options.crops else (), 1)
        ]
        for target in crops:
            self._outputs.writes("--crops", target)

        def save(picture: Image.Image, target: Path) -> None:
            log(f"wrote {save_picture(picture, target, overwrite=options.overwrite)}")

        if options.draw:
            save(draw_detections(image, found), numbered(options.draw, number, self._count))
        if options.mask:
            save(detections_mask(image.size, found), numbered(options.mask, number, self._count))
        if options.crops:
            for target, crop in zip(crops, crop_detections(image, found), strict=True):
                save(crop, target)

    def _crop_prefix(self, path: str, number: int) -> str:
        """How the names of an image's crops begin, so that there is room for their numbers."""
        stem = "stdin" if path == STDIN else Path(path).stem
        return short_name(stem if self._count == 1 else f"{number}-{stem}")


def with_points(box: dict[str, Any], per_side: int | None) -> dict[str, Any]:
    """A box as a line of JSON tells it, with points inside it where so many a side are asked for."""
    return box | {"points": box_points(box, per_side)} if per_side else box


def _boxes(count: int) -> str:
    return "nothing found" if not count else "1 box" if count == 1 else f"{count} boxes"

"""``iaa ground``: phrases to boxes, and to pictures, masks and crops made of them (task G)."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

from PIL import Image

from ..boxes.answers import Detection
from ..images.draw import crop_detections, detections_mask, draw_detections
from ..text.prompts import distinct_phrases
from .arguments.shared import STDIN, generation_options
from .opening import open_pipeline
from .output import BOX, TokenCounter, log, print_json
from .outputs import Outputs
from .pictures import check_images, load_images, numbered, save_picture, slug


def run(options: argparse.Namespace) -> int:
    """Grounds every phrase in each image; fails in the end if one could not be opened."""
    settings = generation_options(options)
    outputs = _outputs(options)
    pictures = check_images("ground", options.image)
    pipeline = open_pipeline(options)
    least = pipeline.score_threshold if options.threshold is None else options.threshold
    done = 0
    for number, path, image in load_images("ground", pictures):
        counter = TokenCounter(path)
        (answers,) = pipeline.ground_answers(
            [image],
            distinct_phrases(options.phrase),
            grammar=not options.raw,
            several=not options.one,
            on_token=counter,
            **settings,
        )
        counter.clear()
        found = [d for answer in answers for d in answer.detections if d.score >= least]
        if options.json:
            record = {"image": path, "detections": [d.to_dict() for d in found]}
            if options.raw:
                record["answers"] = [{"phrase": answer.phrase, "text": answer.text} for answer in answers]
            print_json(record)
        else:
            print(f"{path} ({image.width}×{image.height}): {_boxes(len(found))}")
            for answer in answers if options.raw else ():
                print(f"  {answer.phrase}: {answer.text}")
            for d in found:
                print(f"  {d.label}: {BOX.format(**d.to_dict())}")
        _write(options, outputs, path, image, found, number)
        done += 1
    return 0 if done == len(options.image) else 1


def _outputs(options: argparse.Namespace) -> Outputs:
    """The files of this run; raises if one would be written over another, or over what is there."""
    outputs, count = Outputs(options), len(options.image)
    for option, given in (("--draw", options.draw), ("--mask", options.mask)):
        for number in range(1, count + 1) if given else ():
            outputs.writes(option, numbered(given, number, count))
    if options.crops and not options.overwrite:
        for number, path in enumerate(options.image, 1):
            for there in Path(options.crops).glob(f"{glob.escape(_crop_prefix(path, number, count))}-[0-9]*-*.png"):
                outputs.writes("--crops", there)  # which it refuses
    return outputs


def _crop_prefix(path: str, number: int, count: int) -> str:
    """How the names of an image's crops begin."""
    stem = "stdin" if path == STDIN else Path(path).stem
    return stem if count == 1 else f"{number}-{stem}"


def _boxes(count: int) -> str:
    return "nothing found" if not count else "1 box" if count == 1 else f"{count} boxes"


def _write(
    options: argparse.Namespace, outputs: Outputs, path: str, image: Image.Image, found: list[Detection], number: int
) -> None:
    count, prefix = len(options.image), _crop_prefix(path, number, len(options.image))
    crops = [
        Path(options.crops) / f"{prefix}-{index}-{slug(detection.label)}.png"
        for index, detection in enumerate(found if options.crops else (), 1)
    ]
    for target in crops:
        outputs.writes("--crops", target)

    def save(picture: Image.Image, target: Path) -> None:
        log(f"wrote {save_picture(picture, target, overwrite=options.overwrite)}")

    if options.draw:
        save(draw_detections(image, found), numbered(options.draw, number, count))
    if options.mask:
        save(detections_mask(image.size, found), numbered(options.mask, number, count))
    if options.crops:
        for target, crop in zip(crops, crop_detections(image, found), strict=True):
            save(crop, target)

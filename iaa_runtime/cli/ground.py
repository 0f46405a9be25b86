"""``iaa ground``: phrases to boxes, and to pictures, masks and crops made of them (task G)."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

from PIL import Image

from ..boxes.answers import Detection
from ..errors import UsageError
from ..images.draw import crop_detections, detections_mask, draw_detections
from ..text.prompts import distinct_phrases, grounding_question
from .arguments import (
    add_image_argument,
    add_pipeline_arguments,
    add_threshold_argument,
    checked,
    generation_options,
)
from .opening import open_pipeline
from .output import BOX, TokenCounter, log, print_json
from .outputs import Outputs, add_overwrite_argument
from .pictures import folder_path, load_images, numbered, picture_path, save_picture, slug


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_image_argument(parser)
    parser.add_argument(
        "--phrase",
        type=checked(_phrase),
        action="append",
        required=True,
        metavar="TEXT",
        help="what to find (repeatable)",
    )
    add_threshold_argument(parser)
    parser.add_argument("--one", action="store_true", help="at most one box a phrase")
    parser.add_argument("--raw", action="store_true", help="no grammar: print what the model says, box or not")
    picture = checked(picture_path)
    parser.add_argument("--draw", type=picture, metavar="FILE", help="write the picture with its boxes")
    parser.add_argument("--mask", type=picture, metavar="FILE", help="write a mask, white inside the boxes")
    parser.add_argument(
        "--crops", type=checked(folder_path), metavar="DIR", help="write a picture of each box into DIR"
    )
    add_overwrite_argument(parser)
    add_pipeline_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Grounds every phrase in each image; fails in the end if one could not be opened."""
    settings = generation_options(options)
    if not options.raw and options.num_beams not in (None, 1):
        raise UsageError("--beams does not go together with the grammar of boxes. Leave it out, or add --raw.")
    outputs = _outputs(options)
    pipeline = open_pipeline(options)
    least = pipeline.score_threshold if options.threshold is None else options.threshold
    done = 0
    for number, path, image in load_images("ground", options.image):
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


def _phrase(text: str) -> str:
    grounding_question(text)  # raises if it is empty
    return text


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
    return Path(path).stem if count == 1 else f"{number}-{Path(path).stem}"


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

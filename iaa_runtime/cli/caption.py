"""``iaa caption``: answers about images (task MM)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from ..boxes.bounding_box import as_boxes, label_of
from ..config import Task
from ..errors import InputError
from ..jobs.files import numbered_jsonl
from .arguments.shared import generation_options
from .opening import open_pipeline
from .output import TokenCounter, print_json
from .pictures import about_picture, answer_each, check_images
from .stdin import asked


def run(options: argparse.Namespace) -> int:
    """Captions each image; fails in the end if there is one without an answer."""
    settings = generation_options(options)
    prompt = asked(options)
    boxes, failed = read_boxes(options.boxes, options.image) if options.boxes else ({}, {})
    pictures = check_images(options, failed)
    pipeline = open_pipeline(options, Task.MM)

    def answer(number: int, path: str, image: Image.Image, counter: TokenCounter) -> Callable[[], None]:
        if options.boxes:
            question = about_picture(prompt, path)
            (said,) = pipeline.caption_boxes([image], [boxes[path]], question, on_token=counter, **settings)
        else:
            question = about_picture(prompt, path, index=number)
            said = pipeline.caption([image], question, on_token=counter, **settings)
        return lambda: _tell(options, path, said, boxes.get(path))

    return answer_each(options, pictures, answer)


def _tell(options: argparse.Namespace, path: str, said: list[str], boxes: list[dict[str, Any]] | None) -> None:
    """Prints the caption of a picture, or of each of its boxes."""
    if boxes is None:
        if options.json:
            print_json({"image": path, "caption": said[0]})
        else:
            print(f"{path}: {said[0]}" if len(options.image) > 1 else said[0])
    elif options.json:
        print_json({"image": path, "detections": [box | {"text": text} for box, text in zip(boxes, said, strict=True)]})
    else:
        print(f"{path}:")
        for box, text in zip(boxes, said, strict=True):
            print(f"  {label_of(box)} x={box['x']} y={box['y']} width={box['width']} height={box['height']}: {text}")


def read_boxes(file: str, images: list[str]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, InputError]]:
    """The boxes of each image, out of lines such as ``{"image": path, "detections": [{"x": …}]}``.

    Returns:
        The boxes by path, of all lines of an image; and by path why there are none, where the file says so.

    Raises:
        InputError: the file holds something else, or nothing of one of the images.
    """
    boxes: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, InputError] = {}
    for number, row in numbered_jsonl(Path(file)):
        try:
            path = row["image"]
            if "error" in row:
                failed[path] = InputError(f"{file} has no boxes of {path}, but an error: {row['error']}")
                continue
            (found,) = as_boxes([row["detections"]])
            boxes.setdefault(path, []).extend(found)
        except (LookupError, TypeError, InputError) as error:
            raise InputError(
                f"Line {number} of {file} is no picture with its boxes ({error}). It is written by iaa ground --json."
            ) from None
    missing = next((path for path in images if path not in boxes and path not in failed), None)
    if missing is not None:
        raise InputError(f"{file} has no boxes of {missing}. Give the pictures by the paths that they have there.")
    return boxes, {path: error for path, error in failed.items() if path not in boxes}

"""``iaa ground``: phrases to boxes, and to pictures, masks and crops made of them (task G)."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from PIL import Image

from ..boxes.grounding import GroundingAnswer
from ..config import Task
from ..text.prompts import distinct_phrases
from .arguments.shared import generation_options
from .found import FoundFiles, tell
from .opening import open_pipeline
from .output import TokenCounter
from .pictures import about_picture, answer_each, check_images


def run(options: argparse.Namespace) -> int:
    """Grounds every phrase in each image; fails in the end if there is one without an answer."""
    settings = generation_options(options) | {"several": not options.one}
    files = FoundFiles(options)
    pictures = check_images(options)
    pipeline = open_pipeline(options, Task.G, *[Task.MM] * options.check)

    def answer(number: int, path: str, image: Image.Image, counter: TokenCounter) -> Callable[[], None]:
        phrases = distinct_phrases(about_picture(phrase, path, index=number) for phrase in options.phrase)
        answers: list[GroundingAnswer] = []
        if options.raw:
            (answers,) = pipeline.ground_answers([image], phrases, grammar=False, on_token=counter, **settings)
            least = pipeline.score_threshold if options.threshold is None else options.threshold
            found = [d for answer in answers for d in answer.detections if d.score >= least]
        else:
            (found,) = pipeline.ground(
                [image], phrases, threshold=options.threshold, check=options.check, on_token=counter, **settings
            )

        def tell_and_write() -> None:
            tell(options, path, image, found, phrases, answers)
            files.write(path, image, found, number)

        return tell_and_write

    return answer_each(options, pictures, answer)

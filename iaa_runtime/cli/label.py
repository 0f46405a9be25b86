"""``iaa label``: everything that the model names in a picture, and where it is (tasks MM and G)."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from PIL import Image

from .found import FoundFiles, tell
from .opening import open_pipeline
from .output import TokenCounter
from .pictures import about_picture, answer_each, check_images
from .stdin import given_text


def run(options: argparse.Namespace) -> int:
    """Labels each image; fails in the end if there is one without an answer."""
    files = FoundFiles(options)
    prompt = given_text(options.prompt)
    pictures = check_images(options)
    pipeline = open_pipeline(options)

    def answer(number: int, path: str, image: Image.Image, counter: TokenCounter) -> Callable[[], None]:
        question = about_picture(prompt, path, index=number)
        (found,) = pipeline.label(
            [image], prompt=question, threshold=options.threshold, check=options.check, on_token=counter
        )

        def tell_and_write() -> None:
            tell(options, path, image, found)
            files.write(path, image, found, number)

        return tell_and_write

    return answer_each(options, pictures, answer)

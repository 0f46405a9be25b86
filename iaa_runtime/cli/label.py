"""``iaa label``: everything that the model names in a picture, and where it is (tasks MM and G)."""

from __future__ import annotations

import argparse

from .found import FoundFiles, tell
from .opening import open_pipeline
from .output import TokenCounter
from .pictures import about_picture, check_images, load_images
from .stdin import given_text


def run(options: argparse.Namespace) -> int:
    """Labels each image; fails in the end if one could not be opened."""
    files = FoundFiles(options)
    prompt = given_text(options.prompt)
    pictures = check_images(options)
    pipeline = open_pipeline(options)
    done = 0
    for number, path, image in load_images(options, pictures):
        counter = TokenCounter(path)
        question = about_picture(prompt, path, index=number)
        (found,) = pipeline.label(
            [image], prompt=question, threshold=options.threshold, check=options.check, on_token=counter
        )
        counter.clear()
        tell(options, path, image, found)
        files.write(path, image, found, number)
        done += 1
    return 0 if done == len(options.image) else 1

"""``iaa caption``: answers about images (task MM)."""

from __future__ import annotations

import argparse

from ..text.prompts import CAPTION_PROMPTS
from .arguments.shared import generation_options
from .opening import open_pipeline
from .output import TokenCounter, print_json
from .pictures import check_images, load_images
from .stdin import given_text


def run(options: argparse.Namespace) -> int:
    """Captions each image; fails in the end if one could not be opened."""
    settings = generation_options(options)
    prompt = CAPTION_PROMPTS[options.preset or "caption"] if options.prompt is None else given_text(options.prompt)
    pictures = check_images("caption", options.image)
    pipeline = open_pipeline(options)
    done = 0
    for _, path, image in load_images("caption", pictures):
        counter = TokenCounter(path)
        (caption,) = pipeline.caption([image], prompt, on_token=counter, **settings)
        counter.clear()
        if options.json:
            print_json({"image": path, "caption": caption})
        else:
            print(f"{path}: {caption}" if len(options.image) > 1 else caption)
        done += 1
    return 0 if done == len(options.image) else 1

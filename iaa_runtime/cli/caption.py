"""``iaa caption``: answers about images (task MM)."""

from __future__ import annotations

import argparse

from ..text.prompts import CAPTION_PROMPTS
from .arguments import add_image_argument, add_pipeline_arguments, generation_options
from .opening import open_pipeline
from .output import TokenCounter, print_json
from .pictures import load_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_image_argument(parser)
    parser.add_argument("--prompt", help="the question (default: a preset)")
    parser.add_argument("--preset", choices=CAPTION_PROMPTS, default="caption", help="a ready question")
    add_pipeline_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Captions each image; fails in the end if one could not be opened."""
    settings = generation_options(options)
    pipeline = open_pipeline(options)
    prompt = CAPTION_PROMPTS[options.preset] if options.prompt is None else options.prompt
    done = 0
    for _, path, image in load_images("caption", options.image):
        counter = TokenCounter(path)
        (caption,) = pipeline.caption([image], prompt, on_token=counter, **settings)
        counter.clear()
        if options.json:
            print_json({"image": path, "caption": caption})
        else:
            print(f"{path}: {caption}" if len(options.image) > 1 else caption)
        done += 1
    return 0 if done == len(options.image) else 1

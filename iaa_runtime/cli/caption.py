"""``iaa caption``: answers about images (task MM)."""

from __future__ import annotations

import argparse

from ..text.conversation import CAPTION_PROMPTS
from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    common.add_image_argument(parser)
    parser.add_argument("--prompt", help="the question (default: a preset)")
    parser.add_argument("--preset", choices=CAPTION_PROMPTS, default="caption", help="a ready question")
    common.add_json_argument(parser)
    common.add_model_arguments(parser)
    common.add_server_arguments(parser)
    common.add_generation_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Captions each image; a picture that cannot be read is reported, and the others go on."""
    settings = common.generation_options(options)
    pipeline = common.open_pipeline(options)
    prompt = CAPTION_PROMPTS[options.preset] if options.prompt is None else options.prompt
    failed = 0
    for path, image in common.load_images(options.image):
        if isinstance(image, Exception):
            common.tell(f"iaa caption: {image}")
            failed += 1
            continue
        counter = common.Counter(path)
        (caption,) = pipeline.caption([image], prompt, on_token=counter, **settings)
        counter.done()
        if options.json:
            common.put({"image": path, "caption": caption})
        else:
            print(f"{path}: {caption}" if len(options.image) > 1 else caption)
    return 1 if failed else 0

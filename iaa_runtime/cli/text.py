"""``iaa text``: the frozen language model alone (task Text)."""

from __future__ import annotations

import argparse

from .arguments import add_pipeline_arguments, generation_options
from .opening import open_pipeline
from .output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--prompt", required=True, help="what to ask")
    add_pipeline_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Answers the prompt; streams the text unless ``--json``."""
    settings = generation_options(options)
    pipeline = open_pipeline(options)
    if options.json:
        print_json({"prompt": options.prompt, "text": pipeline.text(options.prompt, **settings)})
    else:
        pipeline.text(options.prompt, on_text=lambda _, new: print(new, end="", flush=True), **settings)
        print()
    return 0

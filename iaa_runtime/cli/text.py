"""``iaa text``: the frozen language model alone (task Text)."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--prompt", required=True, help="what to ask")
    common.add_json_argument(parser)
    common.add_model_arguments(parser)
    common.add_server_arguments(parser)
    common.add_generation_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Answers the prompt, word by word unless ``--json``."""
    settings = common.generation_options(options)
    pipeline = common.open_pipeline(options)
    if options.json:
        common.put({"prompt": options.prompt, "text": pipeline.text(options.prompt, **settings)})
    else:
        pipeline.text(options.prompt, on_text=lambda _, piece: print(piece, end="", flush=True), **settings)
        print()
    return 0

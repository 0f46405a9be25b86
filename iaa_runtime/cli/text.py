"""``iaa text``: the frozen language model alone (task Text)."""

from __future__ import annotations

import argparse

from .arguments.shared import generation_options
from .opening import open_pipeline
from .output import print_json
from .stdin import given_text


def run(options: argparse.Namespace) -> int:
    """Answers the prompt; streams the text unless ``--json``."""
    settings = generation_options(options)
    prompt = given_text(options.prompt)
    pipeline = open_pipeline(options)
    if options.json:
        print_json({"prompt": prompt, "text": pipeline.text(prompt, **settings)})
    else:
        pipeline.text(prompt, on_text=lambda _, new: print(new, end="", flush=True), **settings)
        print()
    return 0

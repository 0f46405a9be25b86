"""Arguments of ``iaa chat``."""

from __future__ import annotations

import argparse

from ...config import Task
from ...errors import UsageError
from ...text.prompts import grounding_question
from ..parser import CommandParser
from .shared import (
    STDIN,
    add_adaptor_argument,
    add_format_argument,
    add_overwrite_argument,
    add_pipeline_arguments,
    checked,
)

SENTENCE_OF_G = f'G knows one sentence, into which the phrase goes: "{grounding_question("the red panda")}"'
"""What one has to know before a G turn: a bare phrase is answered with boxes that are wrong."""


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument("--image", metavar="FILE", help="what the conversation is about")
    parser.add_argument(
        "--task",
        type=checked(Task.parse),
        default=Task.MM,
        metavar="MM|G|Text",
        help=f"who answers first (default MM). {SENTENCE_OF_G}",
    )
    parser.add_argument(
        "--script",
        metavar="FILE.jsonl",
        help='take turns from a file, or from stdin (-) as they come: {"task": "MM", "text": "…"} a line (for G, the '
        '"text" is that sentence); an "image" shows another picture, a "format" is what its answer is held to',
    )
    parser.add_argument(
        "--forget", action="store_true", help="keep nothing: no typed lines, and no unsaved conversation"
    )
    add_format_argument(parser)
    add_overwrite_argument(parser)
    add_pipeline_arguments(parser)
    add_adaptor_argument(parser)
    parser.excludes("script", "overwrite forget")
    parser.rule(_check)


def _check(options: argparse.Namespace) -> None:
    if options.image == STDIN and options.script is None:
        raise UsageError("--image - reads stdin, which is where you type. Give the picture's file, or --script.")
    if options.image == options.script == STDIN:
        raise UsageError("- can be read only once. Give the picture's file, or the script's.")

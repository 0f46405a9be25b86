"""Arguments of ``iaa caption``."""

from __future__ import annotations

from ...text.prompts import CAPTION_PROMPTS
from ..parser import CommandParser
from .shared import add_picture_arguments, add_pipeline_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_picture_arguments(parser)
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--prompt", metavar="TEXT", help="the question; - reads it from stdin (default: a preset)")
    question.add_argument("--preset", choices=CAPTION_PROMPTS, help="a ready question (default: caption)")
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        help="what each box shows, not the whole picture: a file that iaa ground --json or iaa label --json wrote",
    )
    add_pipeline_arguments(parser)

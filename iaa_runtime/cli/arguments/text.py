"""Arguments of ``iaa text``."""

from __future__ import annotations

from ..parser import CommandParser
from .shared import add_format_argument, add_pipeline_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what to ask; - reads it from stdin")
    add_pipeline_arguments(parser)
    add_format_argument(parser)

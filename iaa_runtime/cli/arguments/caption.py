"""Arguments of ``iaa caption``."""

from __future__ import annotations

from ..parser import CommandParser
from .pictures import add_picture_arguments, add_question_arguments
from .shared import add_adaptor_argument, add_format_argument, add_pipeline_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_picture_arguments(parser)
    add_question_arguments(parser, parser)
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        help="what each box shows, not the whole picture: a file that iaa ground --json or iaa label --json wrote; "
        "in --prompt, {label} then stands for the box's label, {index} for its number",
    )
    add_pipeline_arguments(parser)
    add_format_argument(parser)
    add_adaptor_argument(parser)

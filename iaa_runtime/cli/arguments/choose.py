"""Arguments of ``iaa choose``."""

from __future__ import annotations

import argparse

from ...errors import InputError, UsageError
from ..parser import CommandParser
from .pictures import FIELDS, add_picture_arguments
from .shared import STDIN, add_adaptor_argument, add_message_arguments, add_model_arguments, add_server_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_picture_arguments(parser, required=False)
    parser.add_argument(
        "--question", required=True, metavar="TEXT", help=f"what to decide; - reads it from stdin; {FIELDS}"
    )
    parser.add_argument(
        "--choice",
        action="append",
        required=True,
        metavar="TEXT",
        help="a possible answer, spelled as the model would (repeatable)",
    )
    add_message_arguments(parser)
    add_model_arguments(parser)
    add_adaptor_argument(parser)
    add_server_arguments(parser)
    parser.rule(_check)


def _check(options: argparse.Namespace) -> None:
    from ...pipeline.choices import checked_choices

    try:
        options.choice = checked_choices(options.choice)
    except InputError as error:
        raise UsageError(str(error)) from None
    if options.question != STDIN and not options.question.strip():
        raise UsageError("The question is empty. Write what to decide.")

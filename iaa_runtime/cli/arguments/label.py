"""Arguments of ``iaa label``."""

from __future__ import annotations

from ...text.prompts import CAPTION_PROMPTS
from ..parser import CommandParser
from .ground import add_found_arguments
from .pictures import FIELDS, add_picture_arguments
from .shared import add_adaptor_argument, add_message_arguments, add_model_arguments, add_server_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_picture_arguments(parser)
    parser.add_argument(
        "--prompt",
        default=CAPTION_PROMPTS["objects"],
        metavar="TEXT",
        help=f"how the model is asked for the list (default: %(default)s); {FIELDS}",
    )
    add_found_arguments(parser)
    add_message_arguments(parser)
    add_model_arguments(parser)
    add_adaptor_argument(parser)
    add_server_arguments(parser)

"""Arguments of ``iaa demo``."""

from __future__ import annotations

from ..parser import CommandParser
from .shared import add_message_arguments, add_model_arguments, add_overwrite_argument


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument("--image", metavar="FILE", help="a picture of your own instead of a scene of coloured shapes")
    parser.add_argument("--question", help="what to ask about it (default: one that fits the scene)")
    parser.add_argument("--phrase", action="append", metavar="TEXT", help="what to find in it (repeatable)")
    parser.add_argument("--seed", type=int, default=3, help="which scene (default 3)")
    parser.add_argument("--out", default="iaa_demo", metavar="DIR", help="where pictures go (default iaa_demo)")
    add_overwrite_argument(parser)
    add_message_arguments(parser)
    add_model_arguments(parser)

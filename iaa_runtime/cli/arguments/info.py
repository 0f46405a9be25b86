"""Arguments of ``iaa info``."""

from __future__ import annotations

from ..parser import CommandParser
from .shared import add_checkpoint_arguments, add_device_arguments, add_message_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_checkpoint_arguments(parser)
    add_device_arguments(parser)
    add_message_arguments(parser)

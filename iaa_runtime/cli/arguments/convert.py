"""Arguments of ``iaa convert``."""

from __future__ import annotations

from ...config import PRECISIONS, Task
from ..parser import CommandParser
from .shared import add_adaptor_argument, add_checkpoint_arguments, add_dry_run_argument, add_message_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    tasks = [task.value for task in Task]
    parser.add_argument("--precision", required=True, choices=PRECISIONS, help="of the large matrices")
    parser.add_argument(
        "--task", nargs="+", action="extend", choices=tasks, help="the tasks that it is to serve (default: all)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; must be new or empty")
    add_dry_run_argument(parser)
    add_checkpoint_arguments(parser)
    add_adaptor_argument(parser, "merge it into the weights")
    add_message_arguments(parser)

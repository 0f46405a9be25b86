"""Arguments of ``iaa teach``."""

from __future__ import annotations

from ...config import Task
from ...config.teaching import LARGEST_RANK, LARGEST_SHARE, MOST_PICTURES, MOST_STEPS, TeachSettings
from ...errors import InputError
from ..parser import CommandParser
from .shared import (
    add_dry_run_argument,
    add_message_arguments,
    add_model_arguments,
    add_overwrite_argument,
    checked,
    count,
)

DEFAULTS = TeachSettings()


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help="COCO JSON, RefCOCO lines, lines of iaa annotate, or LLaVA JSON (see docs/teaching.md)",
    )
    tasks = [task.value for task in Task if task.sees]
    parser.add_argument("--task", required=True, choices=tasks, help="G learns boxes, MM captions and answers")
    parser.add_argument("--out", required=True, metavar="FILE.safetensors", help="the adaptor to write")
    parser.add_argument("--images", metavar="DIR", help="the pictures (default: the folder of DATA)")
    parser.add_argument(
        "--rank",
        type=count(LARGEST_RANK),
        default=DEFAULTS.rank,
        metavar="R",
        help=f"size of the updates (default {DEFAULTS.rank})",
    )
    parser.add_argument(
        "--steps", type=count(MOST_STEPS), default=DEFAULTS.steps, metavar="N", help=f"default {DEFAULTS.steps}"
    )
    parser.add_argument(
        "--batch",
        type=count(MOST_PICTURES),
        default=DEFAULTS.batch,
        metavar="N",
        help=f"pictures a step (default {DEFAULTS.batch}); less memory: 1",
    )
    parser.add_argument(
        "--hold-out",
        type=checked(_share),
        default=DEFAULTS.hold_out,
        metavar="S",
        help=f"share of the pictures that is not learned from but scored (default {DEFAULTS.hold_out})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn (default 0)")
    add_overwrite_argument(parser)
    add_dry_run_argument(parser)
    add_message_arguments(parser)
    add_model_arguments(parser)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= LARGEST_SHARE:
        raise InputError(f"a share of 0 to {LARGEST_SHARE} is held out, not {text}.")
    return value

"""Arguments of ``iaa track``."""

from __future__ import annotations

from ...config.boxes import Tracking
from ..parser import CommandParser
from .pictures import add_points_argument
from .shared import add_message_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument(
        "found",
        metavar="FILE.jsonl",
        help="what iaa ground --json printed of the frames, in their order; - reads it from stdin",
    )
    parser.add_argument("--any-label", action="store_true", help="let a track change its label")
    for name, kind, purpose in (
        ("iou", float, "least overlap of a box with where its track is expected, above 0 and at most 1"),
        ("gap", int, "frames that a track may be missing; they are filled"),
        ("smoothing", int, "frames on each side that a box is averaged with"),
    ):
        default = getattr(Tracking, name)
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{purpose} (default {default})")
    add_message_arguments(parser)
    add_points_argument(parser)

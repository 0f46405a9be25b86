"""Arguments of ``iaa track``."""

from __future__ import annotations

from ...config.boxes import Tracking
from ..parser import CommandParser
from .shared import add_message_arguments, add_points_argument


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument(
        "found",
        metavar="FILE.jsonl",
        help="what iaa ground --json printed of the frames, in their order; - reads it from stdin",
    )
    parser.add_argument(
        "--iou",
        type=float,
        default=Tracking.iou,
        metavar="S",
        help=f"least overlap of a box with where its track is expected, above 0 and at most 1 (default {Tracking.iou})",
    )
    parser.add_argument("--any-label", action="store_true", help="let a track change its label")
    parser.add_argument(
        "--gap",
        type=int,
        default=Tracking.gap,
        metavar="N",
        help=f"frames that a track may be missing; they are filled (default {Tracking.gap})",
    )
    parser.add_argument(
        "--smoothing",
        type=int,
        default=Tracking.smoothing,
        metavar="N",
        help="frames on each side that a box is averaged with (default 0: none)",
    )
    add_message_arguments(parser)
    add_points_argument(parser)

"""Arguments of ``iaa ground``."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from ...errors import InputError, UsageError
from ...text.prompts import grounding_question
from ..parser import CommandParser
from .pictures import FIELDS, add_picture_arguments, add_points_argument, add_threshold_argument
from .shared import add_adaptor_argument, add_overwrite_argument, add_pipeline_arguments, checked


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    add_picture_arguments(parser)
    parser.add_argument(
        "--phrase",
        type=checked(_phrase),
        action="append",
        required=True,
        metavar="TEXT",
        help=f"what to find (repeatable); {FIELDS}",
    )
    parser.add_argument("--one", action="store_true", help="at most one box a phrase")
    parser.add_argument("--raw", action="store_true", help="no grammar: print what the model says, box or not")
    add_found_arguments(parser)
    add_pipeline_arguments(parser)
    add_adaptor_argument(parser)
    parser.excludes("raw", "one check")
    parser.rule(_check)


def add_found_arguments(parser: CommandParser) -> None:
    """Declares which boxes are kept, and what is written of them."""
    add_threshold_argument(parser)
    parser.add_argument(
        "--check", action="store_true", help="ask MM, too, whether each thing is there: its answer lowers the score"
    )
    picture = checked(picture_path)
    parser.add_argument("--draw", type=picture, metavar="FILE", help="write the picture with its boxes")
    parser.add_argument("--mask", type=picture, metavar="FILE", help="write a mask, white inside the boxes")
    parser.add_argument(
        "--crops", type=checked(_folder_path), metavar="DIR", help="write a picture of each box into DIR"
    )
    add_points_argument(parser)
    add_overwrite_argument(parser)
    parser.needs("overwrite", "draw", "mask", "crops")


def _check(options: argparse.Namespace) -> None:
    if not options.raw and options.num_beams not in (None, 1):
        raise UsageError("--beams does not go together with the grammar of boxes. Leave it out, or add --raw.")


def _phrase(text: str) -> str:
    grounding_question(text)  # raises if it is empty
    return text


def picture_path(text: str) -> str:
    """Checks the name of a picture to write.

    Raises:
        InputError: its ending names no format that pictures and masks can be written in here.
    """
    file_format = Image.registered_extensions().get(Path(text).suffix.lower())
    try:
        # Formats that are only read, that know black and white alone, or that want a program that is not here.
        for mode in ("RGB", "L"):
            Image.new(mode, (1, 1)).save(io.BytesIO(), file_format or "")
    except (KeyError, OSError, ValueError):
        raise InputError(
            f"{text!r} has no ending of a picture format that can be written. Use .png, .jpg or .webp."
        ) from None
    return text


def _folder_path(text: str) -> str:
    path = Path(text)
    if not path.is_dir() and (path.exists() or path.suffix.lower() in Image.registered_extensions()):
        raise InputError(f"{text!r} is no folder. Give a new folder, or one that is there.")
    return text

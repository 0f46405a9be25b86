"""Arguments of commands that are about pictures: which, what is asked about them, and which boxes are kept."""

from __future__ import annotations

import argparse
from typing import Any

from ...config.boxes import MOST_PER_SIDE
from ...errors import InputError, UsageError
from ...images.names import expanded
from ...text.styles import ANY, ENGLISH, EXTRAS, KINDS, LANGUAGES, LENGTHS, LISTS
from ..parser import CommandParser
from .shared import STDIN, checked, count

FILE_FIELDS = "{name} and {folder} stand for the file's"
FIELDS = f"{FILE_FIELDS}, {{index}} for the picture's number"
"""What may be said of a picture in what is asked about it."""


def add_picture_arguments(parser: CommandParser, *, required: bool = True) -> None:
    """Adds pictures, as words and as ``--image``; one at least where they are ``required``."""
    parser.add_argument("image", action=_Pictures, nargs="*", metavar="PICTURE", help="pictures; - is one from stdin")
    parser.add_argument("--image", action=_Pictures, metavar="FILE", help="the same, repeatable")
    parser.rest = "image"

    def check(options: argparse.Namespace) -> None:
        if not options.image and required:
            parser.error("there is no picture: give at least one PICTURE")
        options.image = options.image or []
        asked = (getattr(options, name, None) for name in ("prompt", "question"))
        if options.image.count(STDIN) > (STDIN not in asked):
            raise UsageError("- can be read only once. Give the prompt, or further pictures, by other means.")

    parser.rule(check)


class _Pictures(argparse.Action):
    """Appends to the list of pictures what words or patterns name."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None) -> None:
        before = getattr(namespace, self.dest) or []
        words = [values] if isinstance(values, str) else values or []
        setattr(namespace, self.dest, [*before, *(path for word in words for path in expanded(word))])


def add_question_arguments(
    parser: CommandParser, group: argparse._ActionsContainer, implied: str = "", fields: str = FIELDS
) -> None:
    """Adds what captions are asked with: ``--prompt`` or ``--style``, and how long they are to be, and so on.

    Args:
        parser: the command's.
        group: where they stand in its help.
        implied: what is said of the first two besides.
        fields: what the question may say of a picture.
    """
    question = group.add_mutually_exclusive_group()
    question.add_argument("--prompt", metavar="TEXT", help=f"the question; - reads it from stdin; {fields}{implied}")
    question.add_argument(
        "--style", "--preset", dest="preset", choices=KINDS, help=f"a ready question (default: caption){implied}"
    )
    group.add_argument("--length", choices=LENGTHS, default=ANY, help="how long captions are to be")
    group.add_argument(
        "--extra",
        action="append",
        choices=EXTRAS,
        default=[],
        metavar="WHAT",
        help=f"what to mention or leave out (repeatable): {', '.join(EXTRAS)}",
    )
    group.add_argument(
        "--forbid", action="append", default=[], metavar="TEXT", help="words not to be used (repeatable)"
    )
    group.add_argument("--call", default="", metavar="NAME", help="what to call the person or character that is shown")
    group.add_argument("--language", choices=LANGUAGES, default=ENGLISH, help="of the question, and so of the answer")
    parser.rule(_check_length)


def _check_length(options: argparse.Namespace) -> None:
    if options.preset in LISTS and options.length != ANY:
        raise UsageError(f"--length has no effect beside --style {options.preset}, which is a list. Leave it out.")


def style_of(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of :func:`styled`'s arguments."""
    return {name: getattr(options, name) for name in ("length", "forbid", "language", "call")} | {
        "extras": options.extra
    }


def add_threshold_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--threshold``, a score in [0, 1]; None for the model's own."""
    parser.add_argument(
        "--threshold",
        type=checked(_score),
        metavar="S",
        help="drop boxes that score below S, of 0 to 1 (default: what the checkpoint's config.json says, or 0)",
    )


def _score(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise InputError(f"a score is in 0..1, not {text}.")
    return value


def add_points_argument(parser: CommandParser) -> None:
    """Adds ``--points``, how many points each box of the JSON is to have a side; None for no points."""
    parser.add_argument(
        "--points",
        type=count(MOST_PER_SIDE),
        metavar="N",
        help=f"with --json: add points inside each box, for SAM; N a side, 1 (the centre) to {MOST_PER_SIDE}",
    )
    parser.needs("points", "json")

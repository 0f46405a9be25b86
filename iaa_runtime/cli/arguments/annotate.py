"""Arguments of ``iaa annotate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...config import BATCH_ROWS
from ...errors import InputError, UsageError
from ..parser import CommandParser
from .pictures import FILE_FIELDS, add_question_arguments, add_threshold_argument
from .shared import (
    MOST_ROWS,
    STDIN,
    add_adaptor_argument,
    add_dry_run_argument,
    add_format_argument,
    add_overwrite_argument,
    add_pipeline_arguments,
    checked,
    count,
)

SHARD_SIZE, MOST_IN_SHARD = 200, 100_000
"""Pictures in a shard; the records of one are held in memory."""
LISTS = (".jsonl", ".parquet", STDIN)


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument(
        "source",
        nargs="+",
        action="extend",
        help="folders, patterns such as 'photos/**/*.jpg', pictures, lists (.jsonl or .parquet with a column image, "
        "and perhaps phrases and id; an imagefolder's metadata.jsonl; - is one from stdin, in JSON lines or of names "
        "alone), and WebDataset's .tar files",
    )
    parser.rest = "source"
    parser.add_argument("--out", required=True, metavar="DIR", help="the job's folder; the same again goes on with it")
    parser.add_argument(
        "--update", action="store_true", help="take in images that are new since the job began, in shards of their own"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try images again that failed, as after they were repaired"
    )
    add_dry_run_argument(parser)
    _add_questions(parser)
    group = parser.add_argument_group("lists")
    group.add_argument("--images", metavar="DIR", help="where relative paths start (default: beside the list)")
    group.add_argument("--column", default="image", metavar="NAME", help="column of the pictures (default image)")
    group = parser.add_argument_group("results")
    group.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="of the shards (default jsonl)")
    group.add_argument(
        "--shard-size",
        type=count(MOST_IN_SHARD),
        default=SHARD_SIZE,
        metavar="N",
        help=f"pictures a shard (default {SHARD_SIZE})",
    )
    group.add_argument(
        "--batch",
        type=count(MOST_ROWS),
        default=BATCH_ROWS,
        metavar="N",
        help=f"pictures at once (default {BATCH_ROWS})",
    )
    group.add_argument(
        "--coco",
        type=checked(_coco_path),
        metavar="FILE.json",
        help="when done, also write the boxes (or captions) as COCO JSON",
    )
    group.add_argument(
        "--page",
        type=checked(_page_path),
        metavar="FILE.html",
        help="when done, also write a page, or several, to look through pictures with their boxes and captions",
    )
    group.add_argument(
        "--imagefolder",
        metavar="DIR",
        help="when done, also write metadata.jsonl into the folder of the pictures, as Hugging Face's datasets read it",
    )
    group.add_argument(
        "--webdataset",
        metavar="DIR",
        help="when done, also write pictures and annotations as WebDataset's tar files (pip install webdataset)",
    )
    group.add_argument(
        "--sidecars", action="store_true", help="when done, also write captions beside the pictures, on one line each"
    )
    add_overwrite_argument(group)
    group = parser.add_argument_group("sidecars")
    group.add_argument("--prefix", default="", metavar="TEXT", help="put before each caption, as it is: 'ohwx, '")
    group.add_argument("--suffix", default="", metavar="TEXT", help="put behind each caption")
    group.add_argument("--keep-lines", action="store_true", help="keep a caption's line ends")
    group.add_argument(
        "--existing",
        choices=("skip", "overwrite", "append"),
        help="what becomes of texts that are there and say something else (default: nothing is written)",
    )
    add_pipeline_arguments(parser)
    add_adaptor_argument(parser)
    parser.needs("threshold one", "boxes", "phrase")
    parser.needs("sidecars", "caption", "prompt", "preset")
    parser.needs("overwrite", "coco", "page", "imagefolder", "webdataset", "sidecars")
    parser.needs("prefix suffix keep_lines existing", "sidecars")
    parser.rule(_check)


def _add_questions(parser: CommandParser) -> None:
    group = parser.add_argument_group("what is asked")
    group.add_argument("--caption", action="store_true", help="caption every picture")
    add_question_arguments(parser, group, "; implies --caption", FILE_FIELDS)
    add_format_argument(group, "--answer-format")
    parser.needs("length extra forbid call language answer_format", "caption", "prompt", "preset")
    group.add_argument(
        "--phrase", action="append", default=[], metavar="TEXT", help=f"what to find (repeatable); {FILE_FIELDS}"
    )
    group.add_argument(
        "--boxes", action="store_true", help="find the phrases of the list's column; --phrase implies it"
    )
    add_threshold_argument(group)
    group.add_argument("--one", action="store_true", help="at most one box a phrase")


def _coco_path(text: str) -> str:
    if Path(text).suffix.lower() != ".json":
        raise InputError(f"{text!r} does not end in .json, as COCO's files do.")
    return text


def _page_path(text: str) -> str:
    if Path(text).suffix.lower() != ".html":
        raise InputError(f"{text!r} does not end in .html, as pages do.")
    return text


def _check(options: argparse.Namespace) -> None:
    if not (options.caption or options.prompt or options.preset or options.phrase or options.boxes):
        raise UsageError("There is nothing to do: ask for captions (--caption), for boxes (--phrase), or for both.")
    if [options.prompt, *options.source].count(STDIN) > 1:
        raise UsageError("- can be read only once. Give the prompt, or the list, by other means.")
    if any(source.lower().endswith(LISTS) for source in options.source):
        return
    if options.boxes and not options.phrase:
        raise UsageError("--boxes finds the phrases of a list, and there is none. Say what to find with --phrase.")
    for given, option in ((options.images is not None, "--images"), (options.column != "image", "--column")):
        if given:
            raise UsageError(
                f"{option} is about lists, and there is none. Give one (.jsonl, .parquet), or leave it out."
            )

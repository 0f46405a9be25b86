"""Arguments of ``iaa eval``."""

from __future__ import annotations

import argparse

from ...config import BATCH_ROWS
from ...errors import UsageError
from ..parser import CommandParser
from .pictures import add_threshold_argument
from .shared import (
    GENERATION,
    HERE,
    MOST_ROWS,
    add_adaptor_argument,
    add_dry_run_argument,
    add_message_arguments,
    add_model_arguments,
    add_overwrite_argument,
    add_pipeline_arguments,
    add_server_arguments,
    count,
)

SCENES, MOST_SCENES = 200, 1_000_000
RUNNING = f"{HERE} {GENERATION} server server_timeout batch"
"""Options of getting answers, which do nothing where there are some."""


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    _add_refcoco(benchmarks.add_parser("refcoco", help="boxes of expressions (RefCOCO, RefCOCO+, RefCOCOg)"))
    _add_mme(benchmarks.add_parser("mme", help="yes-or-no questions in fourteen categories"))
    _add_compare(benchmarks.add_parser("compare", help="two runs on the same questions: what they differ by"))
    _add_boxes(
        benchmarks.add_parser("boxes", help="boxes of your own: COCO JSON, RefCOCO lines, lines of iaa annotate")
    )
    shapes = benchmarks.add_parser("shapes", help="the demo checkpoint's own scenes")
    shapes.add_argument(
        "--scenes", type=count(MOST_SCENES), default=SCENES, metavar="N", help=f"how many (default {SCENES})"
    )
    shapes.add_argument("--report", metavar="FILE.html", help="write a page: measures, what they mean, and mistakes")
    add_overwrite_argument(shapes)
    shapes.needs("overwrite", "report")
    add_dry_run_argument(shapes)
    add_message_arguments(shapes)
    add_model_arguments(shapes)
    add_adaptor_argument(shapes)
    add_server_arguments(shapes)


def _add_boxes(parser: CommandParser) -> None:
    parser.add_argument("data", metavar="DATA", help="the file: see docs/teaching.md for its forms")
    parser.add_argument("--images", metavar="DIR", help="the pictures (default: the folder of DATA)")
    parser.add_argument("--out", metavar="FILE.jsonl", help="write what was found, for `eval compare`")
    add_threshold_argument(parser)
    add_overwrite_argument(parser)
    parser.needs("overwrite", "out")
    add_dry_run_argument(parser)
    add_message_arguments(parser)
    add_model_arguments(parser)
    add_adaptor_argument(parser)
    add_server_arguments(parser)


def _add_refcoco(parser: CommandParser) -> None:
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="FILE.jsonl",
        help="a split, as published: sent_id, expression, img_path, bbox [x1, y1, x2, y2], width, height",
    )
    parser.add_argument("--images", metavar="DIR", help="the pictures: to run, and for --report")
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--out", metavar="FILE.jsonl", help="run, write predictions there, and score them")
    result.add_argument("--predictions", metavar="FILE.jsonl", help="score these: question_id, prompt, text")
    parser.add_argument("--grammar", action="store_true", help="hold answers to boxes (the published runs do not)")
    _add_run_arguments(parser)
    parser.excludes("predictions", f"grammar {RUNNING}")
    parser.needs("images", "report", where=lambda options: options.predictions is not None)
    parser.needs("overwrite", "out", "report")
    parser.rule(_check_refcoco)


def _check_refcoco(options: argparse.Namespace) -> None:
    if options.out is not None and options.images is None:
        raise UsageError("To run, give the folder of the pictures with --images; to score, give --predictions.")


def _add_mme(parser: CommandParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="the release's folders, with questions_answers_YN")
    parser.add_argument("--questions", metavar="FILE.jsonl", help="question_id, image, text, category; with --images")
    parser.add_argument("--images", metavar="DIR", help="the pictures of the question file")
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--out", metavar="DIR", help="run, write result files there, and score them")
    result.add_argument(
        "--results", metavar="DIR", help="score these: CATEGORY.txt with picture, question, truth, answer"
    )
    parser.add_argument("--partial", action="store_true", help="score although categories are missing")
    _add_run_arguments(parser)
    parser.excludes("results", f"questions {RUNNING}")
    parser.excludes("data", "images")
    parser.needs("data images", "report", where=lambda options: options.results is not None)
    parser.needs("partial", "results")
    parser.needs("overwrite", "report")
    parser.rule(_check_mme)


def _check_mme(options: argparse.Namespace) -> None:
    if options.out is None:
        return
    if (options.data is None) == (options.questions is None):
        raise UsageError("To run, give either --data (the release's folders) or --questions with --images.")
    if options.questions is not None and options.images is None:
        raise UsageError("--questions needs the folder of the pictures: --images.")


def _add_compare(parser: CommandParser) -> None:
    parser.add_argument(
        "first",
        metavar="A",
        help="a file (RefCOCO; `eval boxes --out`; `eval shapes --json`) or a folder (MME)",
    )
    parser.add_argument("second", metavar="B", help="the same of another run; differences are B less A")
    parser.add_argument("--annotations", metavar="FILE.jsonl", help="of RefCOCO: the split that both are of")
    parser.add_argument("--partial", action="store_true", help="of MME: compare although categories are missing")
    add_message_arguments(parser)
    parser.excludes("annotations", "partial")


def _add_run_arguments(parser: CommandParser) -> None:
    parser.add_argument("--report", metavar="FILE.html", help="write a page with the worst cases in pictures")
    add_overwrite_argument(parser)
    add_dry_run_argument(parser)
    parser.add_argument(
        "--batch",
        type=count(MOST_ROWS),
        default=BATCH_ROWS,
        metavar="N",
        help=f"questions at once (default {BATCH_ROWS})",
    )
    add_pipeline_arguments(parser)
    add_adaptor_argument(parser)

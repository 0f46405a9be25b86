"""``iaa eval``: runs and scores RefCOCO, MME, and the demo's scenes of shapes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluation import mme, refcoco
from ..evaluation.mme_questions import MmeQuestion, find_picture, read_question_file, read_release
from ..evaluation.report import write_mme_page, write_refcoco_page
from ..evaluation.run import EvalSettings, answer_mme, answer_refcoco, mme_results
from ..jobs.files import write_jsonl
from ..jobs.process_group import Team, join_team
from ..jobs.progress import Progress
from ..pipeline.local import BATCH_ROWS
from ..shapes.evaluate import as_dict, evaluate
from . import common

PARTS = ".parts"
"""Behind the name of a result: the folder of what is answered so far."""
SCENES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    _add_refcoco(benchmarks.add_parser("refcoco", help="boxes of expressions (RefCOCO, RefCOCO+, RefCOCOg)"))
    _add_mme(benchmarks.add_parser("mme", help="yes-or-no questions in fourteen categories"))
    shapes = benchmarks.add_parser("shapes", help="the demo checkpoint's own scenes")
    shapes.add_argument("--scenes", type=int, default=SCENES, metavar="N", help=f"how many (default {SCENES})")
    common.add_json_argument(shapes)
    common.add_model_arguments(shapes)
    common.add_server_arguments(shapes)


def _add_refcoco(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--annotations", required=True, metavar="FILE.jsonl", help="a split, as published")
    parser.add_argument("--images", metavar="DIR", help="the pictures: to run, and for --report")
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--out", metavar="FILE.jsonl", help="run, write predictions there, and score them")
    result.add_argument("--predictions", metavar="FILE.jsonl", help="score these")
    parser.add_argument("--grammar", action="store_true", help="hold answers to boxes (the published runs do not)")
    _add_common(parser)


def _add_mme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="the release's folders, with questions_answers_YN")
    parser.add_argument("--questions", metavar="FILE.jsonl", help="a question file instead, with --images")
    parser.add_argument("--images", metavar="DIR", help="the pictures of the question file")
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--out", metavar="DIR", help="run, write result files there, and score them")
    result.add_argument("--results", metavar="DIR", help="score these result files")
    parser.add_argument("--partial", action="store_true", help="score although categories are missing")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", metavar="FILE.html", help="write a page with the worst cases in pictures")
    parser.add_argument(
        "--batch", type=int, default=BATCH_ROWS, metavar="N", help=f"questions at once (default {BATCH_ROWS})"
    )
    common.add_json_argument(parser)
    common.add_model_arguments(parser)
    common.add_server_arguments(parser)
    common.add_generation_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Runs a benchmark and scores it, or scores what is there."""
    runners: dict[str, Callable[[argparse.Namespace], int]] = {
        "refcoco": _refcoco,
        "mme": _mme,
        "shapes": _shapes,
    }
    return runners[options.benchmark](options)


def _settings(options: argparse.Namespace) -> EvalSettings:
    if options.batch < 1:
        raise InputError(f"--batch is {options.batch}; it must be at least 1.")
    grammar = getattr(options, "grammar", False)
    return EvalSettings(options.batch, grammar, common.generation_options(options))


def _open(options: argparse.Namespace, team: Team) -> common.Pipeline:
    if team.device and options.device == "auto":
        options.device = team.device
    return common.open_pipeline(options)


def _parts(result: str) -> Path:
    """Where answers are kept until all are there; refuses to replace a finished result."""
    parts = Path(result + PARTS)
    if Path(result).exists() and not parts.exists():
        raise InputError(f"{result} is there already. Score it as it is, or choose another place for a new run.")
    return parts


# RefCOCO -------------------------------------------------------------------------------------------------------------


def _refcoco(options: argparse.Namespace) -> int:
    targets = refcoco.read_annotations(Path(options.annotations))
    predictions = options.predictions
    if options.out:
        team = join_team(options.device)
        _run_refcoco(options, targets, team)
        if not team.is_main:
            return 0
        predictions = options.out
    cases = refcoco.score(targets, refcoco.read_predictions(Path(predictions), targets))
    summary = refcoco.summarize(cases)
    if options.report:
        images = Path(options.images) if options.images else None
        write_refcoco_page(Path(options.report), cases, summary, images)
    if options.json:
        common.put(summary)
    else:
        low, high = summary["interval_95"]
        print(f"precision@0.5  {summary['precision_at_0.5']:.4f}  (95 % Wilson interval {low:.4f} to {high:.4f})")
        print(f"tp {summary['tp']}, fp {summary['fp']}, unreadable {summary['unreadable']}")
        print(f"mean IoU       {summary['mean_iou']:.4f}")
        for title in ("by_size", "by_aspect"):
            for name, group in summary[title].items():
                print(f"  {title[3:]:<7}{name:<9}{group['precision_at_0.5']:.4f} of {group['count']}")
    return 0


def _run_refcoco(options: argparse.Namespace, targets: dict[int | str, refcoco.Target], team: Team) -> None:
    if not options.images:
        raise InputError("To run, give the folder of the pictures with --images; to score, give --predictions.")
    parts, settings = _parts(options.out), _settings(options)
    job = answer_refcoco(_open(options, team), targets, Path(options.images), parts, settings, team)
    if team.is_main:
        write_jsonl(Path(options.out), job.records())
        job.remove()
    team.wait()
    team.part()


# MME -----------------------------------------------------------------------------------------------------------------


def _mme(options: argparse.Namespace) -> int:
    folder = Path(options.results or options.out)
    if options.out:
        questions = _mme_questions(options)
        team = join_team(options.device)
        _run_mme(options, questions, team)
        if not team.is_main:
            return 0
    # What was asked decides which categories there are; a given folder has to be complete.
    results = mme.read_results(folder, partial=options.partial or bool(options.out))
    summary = mme.summarize(results)
    if options.report:
        pictures = options.data or options.images
        write_mme_page(Path(options.report), results, summary, lambda c, name: find_picture(pictures, c, name))
    if options.json:
        common.put(summary | summary["scores"])
    else:
        print(f"perception  {summary['perception']:.2f} of 2000\ncognition   {summary['cognition']:.2f} of 800")
        for name, score in summary["scores"].items():
            low, high = summary["intervals_95"][name]
            print(f"  {name:<23}{score:7.2f}  (95 % bootstrap {low:.1f} to {high:.1f})")
        if summary["missing"]:
            print(f"not scored: {', '.join(summary['missing'])}")
    return 0


def _mme_questions(options: argparse.Namespace) -> list[MmeQuestion]:
    if bool(options.data) == bool(options.questions):
        raise InputError("To run, give either --data (the release's folders) or --questions with --images.")
    if options.data:
        return read_release(Path(options.data))
    if not options.images:
        raise InputError("--questions needs the folder of the pictures: --images.")
    return read_question_file(Path(options.questions), Path(options.images))


def _run_mme(options: argparse.Namespace, questions: list[MmeQuestion], team: Team) -> None:
    parts, settings = _parts(options.out), _settings(options)
    job = answer_mme(_open(options, team), questions, parts, settings, team)
    if team.is_main:
        mme.write_results(Path(options.out), mme_results(job))
        job.remove()
    team.wait()
    team.part()


# Shapes --------------------------------------------------------------------------------------------------------------


def _shapes(options: argparse.Namespace) -> int:
    if options.scenes < 1:
        raise InputError(f"--scenes is {options.scenes}; it must be at least 1.")
    team = join_team(options.device)
    if team.is_main:  # the demo checkpoint is too small to be worth spreading
        _score_shapes(options, _open(options, team))
    team.wait()
    team.part()
    return 0


def _score_shapes(options: argparse.Namespace, pipeline: common.Pipeline) -> None:
    progress = Progress(options.scenes, what="scenes")
    tally = evaluate(pipeline, options.scenes, on_scene=progress.update)
    progress.finish(options.scenes)
    result: dict[str, Any] = as_dict(tally)
    if options.json:
        common.put(result)
    else:
        for name, value in result["measures"].items():
            print(f"{name:<32}{value:.4f}")

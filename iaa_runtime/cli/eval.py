"""``iaa eval``: runs and scores RefCOCO, MME, boxes of one's own, and the demo's scenes of shapes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..config import Task
from ..errors import InputError
from ..evaluation import mme, refcoco
from ..evaluation.compare import compare_mme, compare_refcoco, compare_shapes
from ..evaluation.mme_questions import MmeQuestion, find_picture, read_question_file, read_release
from ..evaluation.report import write_mme_page, write_refcoco_page, write_shapes_page
from ..evaluation.run import EvalSettings, answer_mme, answer_refcoco, check_pictures, mme_results
from ..evaluation.shapes import MEANINGS, details, read_scenes
from ..images.names import path_in_list
from ..jobs.files import write_jsonl
from ..jobs.job import Job
from ..jobs.origin import check_origin, origin_file, read_origin, write_origin
from ..jobs.process_group import ProcessGroup
from ..jobs.progress import Progress
from ..pipeline.base import Pipeline
from ..shapes.evaluate import as_dict, evaluate
from ..teaching.compare import compare_boxes, holds_cases, read_cases
from .arguments.shared import generation_options
from .eval_boxes import run_boxes
from .opening import join_processes, open_pipeline
from .origin import origin_of
from .output import print_json, print_plan
from .outputs import Outputs

PARTS = ".parts"
"""Suffix of a result's name: the folder of the answers so far."""


def run(options: argparse.Namespace) -> int:
    """Runs a benchmark and scores it, or scores an existing result."""
    runners = {"refcoco": _refcoco, "mme": _mme, "shapes": _shapes, "boxes": run_boxes, "compare": _compare}
    runners[options.benchmark](options, _outputs(options))
    return 0


def _outputs(options: argparse.Namespace) -> Outputs:
    """The files of this run; raises if one would be written over another, or over what is there."""
    outputs = Outputs(options)
    result = getattr(options, "out", None)
    if result and options.benchmark == "refcoco":
        outputs.writes("--out", Path(result), again=_parts(result).exists())  # it may be there, half scored
    elif options.benchmark == "mme":
        for category in mme.CATEGORIES:
            if result:
                outputs.writes("--out", mme.result_file(Path(result), category), again=True)
            else:
                outputs.reads("--results", mme.result_file(Path(options.results), category))
    if result and options.benchmark in ("refcoco", "mme"):
        outputs.writes("--out", origin_file(Path(result)), again=True)
    if getattr(options, "report", None):
        outputs.writes("--report", Path(options.report))
    return outputs


def _parts(result: str) -> Path:
    """The folder of the answers so far, beside the result."""
    return Path(f"{Path(result)}{PARTS}")


Answer = Callable[[Pipeline, Path, EvalSettings, ProcessGroup], Job]
"""Answers a benchmark's questions, in a job with a given folder."""


def _run_benchmark(options: argparse.Namespace, answer: Answer, write: Callable[[Path, Job], None]) -> bool:
    """Answers a benchmark together with the other processes and writes the result; True in the main process."""
    group = join_processes(options)
    result, parts = Path(options.out), _parts(options.out)
    if result.is_dir() and not parts.exists():
        raise InputError(f"{result} is there already. Score it as it is, or choose another place for a new run.")
    grammar = getattr(options, "grammar", False)
    check_origin(result)
    settings = EvalSettings(options.batch, grammar, generation_options(options), options.dry_run)
    pipeline = open_pipeline(options, Task.MM if options.benchmark == "mme" else Task.G)
    job = answer(pipeline, parts, settings, group)
    if options.dry_run:
        if group.is_main:
            print_plan(options, questions=job.count, done=job.done(), out=options.out, report=options.report)
        group.leave()
        return False
    if group.is_main:
        write(result, job)
        write_origin(result, _origin(options, pipeline, job.count, {"batch": options.batch, "grammar": grammar}))
        job.remove()
    group.leave()
    return group.is_main


def _origin(options: argparse.Namespace, pipeline: Pipeline, count: int, more: dict[str, Any]) -> dict[str, Any]:
    settings = {"benchmark": options.benchmark, "checkpoint": options.model, **more, **generation_options(options)}
    return origin_of(options, pipeline, settings, count)


def _with_origin(summary: dict[str, Any], result: str) -> dict[str, Any]:
    """A summary with the record of its result's origin, if that has one."""
    origin = read_origin(Path(result))
    return summary | {"origin": origin} if origin else summary


# RefCOCO -------------------------------------------------------------------------------------------------------------


def _refcoco(options: argparse.Namespace, outputs: Outputs) -> None:
    targets = refcoco.read_annotations(Path(options.annotations))
    images = Path(options.images) if options.images else None
    for name in {target.img_path for target in targets.values()}:
        if images is not None:
            outputs.spares("the picture", path_in_list(images, name))
    if options.out and not _run_refcoco(options, targets, images):
        return
    cases = refcoco.score(targets, refcoco.read_predictions(Path(options.predictions or options.out), targets))
    summary = _with_origin(refcoco.summarize(cases), options.predictions or options.out)
    if options.dry_run:
        print_plan(options, predictions=len(cases), report=options.report)
        return
    if options.report:
        write_refcoco_page(Path(options.report), cases, summary, images, overwrite=options.overwrite)
    if options.json:
        print_json(summary)
        return
    low, high = summary["interval_95"]
    print(f"precision@0.5  {summary['precision_at_0.5']:.4f}  (95 % Wilson interval {low:.4f} to {high:.4f})")
    print(f"tp {summary['tp']}, fp {summary['fp']}, unreadable {summary['unreadable']}")
    print(f"mean IoU       {summary['mean_iou']:.4f}")
    for title in ("by_size", "by_aspect"):
        for name, group in summary[title].items():
            print(f"  {title[3:]:<7}{name:<9}{group['precision_at_0.5']:.4f} of {group['count']}")


def _run_refcoco(options: argparse.Namespace, targets: dict[int | str, refcoco.Target], images: Path | None) -> bool:
    assert images is not None  # the arguments were checked
    check_pictures(targets, images)
    return _run_benchmark(
        options,
        lambda pipeline, *job: answer_refcoco(pipeline, targets, images, *job),
        lambda result, job: write_jsonl(result, job.records(), overwrite=options.overwrite),
    )


# MME -----------------------------------------------------------------------------------------------------------------


def _mme(options: argparse.Namespace, outputs: Outputs) -> None:
    if options.out:
        questions = _mme_questions(options)
        for question in questions:
            outputs.spares("the picture", question.path)
            outputs.spares("the questions", question.file)
        is_main = _run_benchmark(
            options,
            lambda pipeline, *job: answer_mme(pipeline, questions, *job),
            lambda result, job: mme.write_results(result, mme_results(job)),
        )
        if not is_main:
            return
    # A run has the categories of its questions; a given folder has to have all.
    results = mme.read_results(Path(options.results or options.out), partial=options.partial or bool(options.out))
    summary = _with_origin(mme.summarize(results), options.results or options.out)
    if options.dry_run:
        print_plan(options, answers=sum(map(len, results.values())), report=options.report)
        return
    if options.report:
        find = partial(find_picture, options.data or options.images)
        for category, answers in results.items():
            for picture in filter(None, (find(category, answer.image) for answer in answers)):
                outputs.spares("the picture", picture)
        write_mme_page(Path(options.report), results, summary, find, overwrite=options.overwrite)
    if options.json:
        print_json(summary | summary["scores"])
        return
    print(f"perception  {summary['perception']:.2f} of 2000\ncognition   {summary['cognition']:.2f} of 800")
    for name, score in summary["scores"].items():
        low, high = summary["intervals_95"][name]
        print(f"  {name:<23}{score:7.2f}  (95 % bootstrap {low:.1f} to {high:.1f})")
    if summary["missing"]:
        print(f"not scored: {', '.join(summary['missing'])}")


def _mme_questions(options: argparse.Namespace) -> list[MmeQuestion]:
    if options.data is not None:
        return read_release(Path(options.data))
    return read_question_file(Path(options.questions), Path(options.images))


# Shapes --------------------------------------------------------------------------------------------------------------


def _shapes(options: argparse.Namespace, _: Outputs) -> None:
    group = join_processes(options)
    if group.is_main:  # the demo checkpoint is too small to be worth spreading
        pipeline = open_pipeline(options)
        if options.dry_run:
            print_plan(options, scenes=options.scenes)
        else:
            _score_shapes(options, pipeline)
    group.leave()


def _score_shapes(options: argparse.Namespace, pipeline: Pipeline) -> None:
    progress = Progress(options.scenes, what="scenes")
    tally = evaluate(pipeline, options.scenes, on_scene=progress.update)
    progress.finish(options.scenes)
    origin = _origin(options, pipeline, options.scenes, {"scenes": options.scenes})
    result = as_dict(tally) | {"details": details(tally), "origin": origin}
    try:
        if options.report:
            write_shapes_page(Path(options.report), result, overwrite=options.overwrite)
    finally:  # what took minutes is told, too, where it cannot be written
        _tell_shapes(result, options.json)


def _tell_shapes(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        for name, value in result["measures"].items():
            of, meaning = result["details"][name], MEANINGS.get(name, "")
            reach = "{:.4f} to {:.4f}".format(*of["interval_95"]) if of["interval_95"] else ""
            print(f"{name:<32}{value:.4f}  {reach:<16} of {of['count']:<6}{meaning}".rstrip())


# Two runs ------------------------------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace, _: Outputs) -> None:
    paths = [Path(options.first), Path(options.second)]
    if options.annotations:
        targets = refcoco.read_annotations(Path(options.annotations))
        first, second = (refcoco.score(targets, refcoco.read_predictions(path, targets)) for path in paths)
        summary = compare_refcoco(first, second)
        rows = {name: summary[name] for name in ("precision_at_0.5", "mean_iou")}
    elif any(holds_cases(path) for path in paths):
        summary = compare_boxes(*(read_cases(path) for path in paths))
        rows = {name: row for name, row in summary.items() if isinstance(row, dict)}
    elif any(path.is_file() for path in paths):
        summary = compare_shapes(*(read_scenes(path) for path in paths))
        rows = {name: row for name, row in summary.items() if isinstance(row, dict)}
    else:
        summary = compare_mme(*(mme.read_results(path, partial=options.partial) for path in paths))
        rows = {name: summary[name] for name in ("perception", "cognition")} | summary["scores"]
    if options.json:
        print_json(summary)
        return
    print(f"{'':<24}{'A':>9} {'B':>9} {'B less A':>10}   95 % interval, paired, over pictures")
    digits = 2 if "perception" in rows else 4
    for name, row in rows.items():
        low, high = row["interval_95"]
        print(
            f"{name:<24}{row['first']:9.{digits}f} {row['second']:9.{digits}f} {row['difference']:+10.{digits}f}   "
            f"{low:+.{digits}f} to {high:+.{digits}f}"
        )
    print(f"right in A alone {summary['only_first']}, in B alone {summary['only_second']}, of {summary['count']}")

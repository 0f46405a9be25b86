"""``iaa eval boxes``: how many boxes of your own data are found, with adaptors or without."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Task
from ..jobs.files import make_folder, write_jsonl
from ..jobs.origin import check_origin, origin_file, write_origin
from ..jobs.progress import Progress
from ..teaching.compare import case_record
from ..teaching.examples import checked
from ..teaching.formats import read_examples
from ..teaching.scores import BoxCase, find_boxes, summarize_boxes, told
from .opening import join_processes, open_pipeline
from .origin import origin_of
from .output import print_json, print_plan
from .outputs import Outputs


def run_boxes(options: argparse.Namespace, outputs: Outputs) -> None:
    """Asks for every phrase on its picture and scores what is found."""
    data = Path(options.data)
    outputs.reads("the data", data)
    if options.out:
        outputs.writes("--out", Path(options.out))
        outputs.writes("--out", origin_file(Path(options.out)), again=True)
        check_origin(Path(options.out))
    examples = read_examples(data, Task.G, Path(options.images) if options.images else None)
    for path in {example.image for example in examples}:
        outputs.spares("the picture", str(path))
    examples = checked(examples, Task.G)
    group = join_processes(options)
    if group.is_main:
        pipeline = open_pipeline(options, Task.G)
        if options.dry_run:
            print_plan(options, phrases=len(examples), out=options.out)
        else:
            progress = Progress(len(examples), what="phrases")
            cases = find_boxes(pipeline, examples, options.threshold, progress.update)
            progress.finish(len(cases))
            settings = {"benchmark": "boxes", "checkpoint": options.model, "data": options.data}
            threshold = pipeline.score_threshold if options.threshold is None else options.threshold
            _report(options, cases, origin_of(options, pipeline, settings | {"threshold": threshold}, len(cases)))
    group.leave()


def _report(options: argparse.Namespace, cases: Sequence[BoxCase], origin: Mapping[str, Any]) -> None:
    try:
        if options.out:
            make_folder(Path(options.out).parent)
            write_jsonl(Path(options.out), map(case_record, cases), overwrite=options.overwrite)
            write_origin(Path(options.out), origin)
    finally:  # what took minutes is told, too, where it cannot be written
        _tell(options, summarize_boxes(cases), origin)


def _tell(options: argparse.Namespace, summary: dict[str, Any], origin: Mapping[str, Any]) -> None:
    if options.json:
        print_json(summary | {"origin": origin})
        return
    print(f"{summary['count']:,} phrases that are shown, {summary['absent']:,} that are not")
    for line in told(summary):
        print(line)
    for phrase, group in summary["by_phrase"].items():
        print(f"  {phrase:<30}{group['precision_at_0.5']:.4f} of {group['count']:,}, mean IoU {group['mean_iou']:.4f}")

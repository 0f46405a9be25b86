"""``iaa annotate``: captions and boxes for a whole collection, in shards that survive a kill."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..annotate.annotator import AnnotateSettings, Annotator, is_record, load_picture
from ..annotate.coco import write_coco_boxes, write_coco_captions
from ..annotate.parquet import Parquet
from ..annotate.sidecars import check_sidecars, write_sidecars
from ..annotate.sources import list_images
from ..errors import InputError
from ..images.names import slashed
from ..jobs.job import MANIFEST, Job, Jsonl, Row, ShardFormat, open_job
from ..jobs.process_group import ProcessGroup
from ..jobs.progress import Progress
from ..jobs.run import run_job
from ..pipeline.base import BATCH_ROWS
from ..text.prompts import CAPTION_PROMPTS
from .arguments import (
    MOST_ROWS,
    add_pipeline_arguments,
    add_threshold_argument,
    check_count,
    checked,
    generation_options,
)
from .opening import join_processes, open_pipeline
from .output import log, print_json
from .outputs import Outputs, add_overwrite_argument

FORMATS: dict[str, Callable[[], ShardFormat]] = {"jsonl": Jsonl, "parquet": Parquet}
SHARD_SIZE, MOST_IN_SHARD = 200, 100_000
"""Pictures in a shard: what a kill can cost; the records of one are held in memory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "source",
        nargs="+",
        help="folders, patterns such as 'photos/**/*.jpg', pictures, and lists (.jsonl or .parquet with a column "
        "image, and perhaps phrases and id)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the job's folder; the same again goes on with it")
    _add_questions(parser)
    group = parser.add_argument_group("lists")
    group.add_argument("--images", metavar="DIR", help="where relative paths start (default: beside the list)")
    group.add_argument("--column", default="image", metavar="NAME", help="column of the pictures (default image)")
    group = parser.add_argument_group("results")
    group.add_argument("--format", choices=FORMATS, default="jsonl", help="of the shards (default jsonl)")
    group.add_argument(
        "--shard-size", type=int, default=SHARD_SIZE, metavar="N", help=f"pictures a shard (default {SHARD_SIZE})"
    )
    group.add_argument(
        "--batch", type=int, default=BATCH_ROWS, metavar="N", help=f"pictures at once (default {BATCH_ROWS})"
    )
    group.add_argument(
        "--coco",
        type=checked(_coco_path),
        metavar="FILE.json",
        help="when done, also write the boxes (or captions) as COCO JSON",
    )
    group.add_argument("--sidecars", action="store_true", help="when done, also write captions beside the pictures")
    add_overwrite_argument(group)
    add_pipeline_arguments(parser)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked")
    group.add_argument("--caption", action="store_true", help="caption every picture")
    group.add_argument("--prompt", help="the question that captions answer (default: a preset); implies --caption")
    group.add_argument("--preset", choices=CAPTION_PROMPTS, default="caption", help="a ready question")
    group.add_argument("--phrase", action="append", default=[], metavar="TEXT", help="what to find (repeatable)")
    group.add_argument(
        "--boxes", action="store_true", help="find the phrases of the list's column; --phrase implies it"
    )
    add_threshold_argument(group)
    group.add_argument("--one", action="store_true", help="at most one box a phrase")


def run(options: argparse.Namespace) -> int:
    """Annotates what is missing, then exports."""
    settings = _settings(options)
    if options.sidecars and settings.prompt is None:
        raise InputError("--sidecars writes captions: give --caption too.")
    check_count("--batch", settings.batch, MOST_ROWS)
    check_count("--shard-size", options.shard_size, MOST_IN_SHARD)
    outputs = _outputs(options, settings)
    group = join_processes(options)
    pipeline = open_pipeline(options)
    annotator = Annotator(pipeline, settings)
    job, resumed = _open_job(options, settings, annotator, group)
    _check_pictures(options, outputs, job)
    if group.is_main and resumed:
        log(f"Going on with {options.out}: {job.done():,} of {job.count:,} images are there.")
    progress = Progress(job.count, job.done()) if group.is_main else None
    run_job(job, settings.batch, load_picture, annotator.annotate, group, pipeline.forget_pictures, progress)
    if group.is_main:
        _finish(options, settings, job)
    group.leave()
    return 0


def _settings(options: argparse.Namespace) -> AnnotateSettings:
    caption = options.caption or options.prompt is not None
    return AnnotateSettings(
        prompt=(options.prompt or CAPTION_PROMPTS[options.preset]) if caption else None,
        phrases=tuple(dict.fromkeys(options.phrase)),
        ground=options.boxes or bool(options.phrase),
        threshold=options.threshold,
        several=not options.one,
        batch=options.batch,
        generation=generation_options(options),
    )


def _coco_path(text: str) -> str:
    if Path(text).suffix.lower() != ".json":
        raise InputError(f"{text!r} does not end in .json, as COCO's files do.")
    return text


def _coco_files(options: argparse.Namespace, settings: AnnotateSettings) -> dict[str, Path]:
    """The files that --coco asks for: ``coco`` of boxes, ``coco_captions``, which alone has the very name."""
    if not options.coco:
        return {}
    boxes = Path(options.coco)
    captions = boxes.with_stem(f"{boxes.stem}-captions") if settings.ground else boxes
    return ({"coco": boxes} if settings.ground else {}) | (
        {"coco_captions": captions} if settings.prompt is not None else {}
    )


def _outputs(options: argparse.Namespace, settings: AnnotateSettings) -> Outputs:
    """The files of this run; raises if --coco names one that it reads, or one that is there."""
    outputs, manifest = Outputs(options), Path(options.out) / MANIFEST
    outputs.reads("the job's", manifest)
    for target in _coco_files(options, settings).values():
        outputs.writes("--coco", target, again=manifest.exists())
    return outputs


def _check_pictures(options: argparse.Namespace, outputs: Outputs, job: Job) -> None:
    """Raises if what is written in the end would meet a picture, or captions each other: before the work."""

    def pictures() -> Iterator[Row]:
        for _, rows in job.rows(range(job.shards)):
            yield from rows

    for row in pictures() if options.coco else ():
        outputs.spares("the picture", row["path"])
    if options.sidecars:
        check_sidecars(pictures())


def _open_job(
    options: argparse.Namespace, settings: AnnotateSettings, annotator: Annotator, group: ProcessGroup
) -> tuple[Job, bool]:
    job_settings: dict[str, Any] = {
        **annotator.pipeline.identity(),
        "source": [slashed(source) for source in options.source],
        "column": options.column,
        "prompt": settings.prompt,
        "phrases": settings.phrases,
        "boxes": settings.ground,
        "threshold": annotator.threshold,
        "several": settings.several,
        "batch": settings.batch,
        "generation": settings.generation,
    }

    def rows() -> Iterator[Row]:
        annotator.check_tasks()
        return list_images(options.source, options.images, options.column)

    return open_job(
        Path(options.out),
        job_settings,
        rows,
        options.shard_size,
        FORMATS[options.format](),
        group,
        is_record,
    )


def _finish(options: argparse.Namespace, settings: AnnotateSettings, job: Job) -> None:
    boxes, failed = 0, 0
    for record in job.records():
        boxes += len(record.get("detections", ()))
        if "error" in record:
            failed += 1
            if failed <= 3:
                log(f"iaa annotate: {record['error']}")
    if failed > 3:
        log(f"iaa annotate: … {failed - 3} more failed; their records say why.")
    written = _export(options, settings, job)
    summary = {"out": options.out, "images": job.count, "failed": failed, "boxes": boxes, "shards": job.shards}
    if options.json:
        print_json(summary | written)
    else:
        print(f"{job.count:,} images, {failed:,} failed, {boxes:,} boxes; {job.shards} shards in {options.out}")
        for name, value in written.items():
            print(f"{name}: {value}")


def _export(options: argparse.Namespace, settings: AnnotateSettings, job: Job) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, target in _coco_files(options, settings).items():
        write = write_coco_boxes if name == "coco" else write_coco_captions
        write(target, job.records, overwrite=options.overwrite)
        written[name] = str(target)
    if options.sidecars:
        written["sidecars"] = write_sidecars(job.pairs, overwrite=options.overwrite)
    return written

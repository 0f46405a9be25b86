"""``iaa annotate``: captions and boxes for a whole collection, in shards that survive a kill."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ...annotate.annotator import AnnotateSettings, Annotator, has_failed, is_record, load_picture, reason
from ...annotate.parquet import Parquet
from ...annotate.sources import STDIN, PassedOver, check_sources, list_images
from ...config import Task
from ...errors import InputError
from ...images.names import slashed
from ...jobs.files import spooled
from ...jobs.job import MANIFEST, Job, Jsonl, Row, ShardFormat
from ...jobs.origin import check_origin, origin_file, read_origin, write_origin
from ...jobs.process_group import ProcessGroup
from ...jobs.progress import Progress
from ...jobs.run import retry_failed, run_job
from ...jobs.start import check_folder, open_job
from ..arguments.shared import generation_options
from ..opening import join_processes, open_pipeline
from ..origin import origin_of
from ..output import complain, log, print_json
from ..outputs import Outputs
from ..stdin import asked
from .exports import Export, asked_exports, check_exports, write_exports

FORMATS: dict[str, Callable[[], ShardFormat]] = {"jsonl": Jsonl, "parquet": Parquet}


def run(options: argparse.Namespace) -> int:
    """Annotates what is missing, then exports."""
    settings = _settings(options)
    exports = asked_exports(options, settings)
    outputs = _outputs(options, exports)
    if not check_folder(Path(options.out)):
        check_sources(options.source, options.images)
    group = join_processes(options)
    pipeline = open_pipeline(options, *[Task.MM] * (settings.prompt is not None), *[Task.G] * settings.ground)
    annotator = Annotator(pipeline, settings)
    job_settings = _job_settings(options, settings, annotator)
    if group.is_main:
        check_origin(Path(options.out))
    check = partial(check_exports, options, exports, outputs)
    job, resumed = _open_job(options, settings, job_settings, annotator, group, check)
    if options.dry_run:
        if group.is_main:
            _tell(options, settings, exports, job)
        group.leave()
        return 0
    if group.is_main and resumed:
        log(f"Going on with {options.out}: {job.done():,} of {job.count:,} images are there.")
    answers = not resumed or job.done() < job.count or options.retry_failed
    progress = Progress(job.count, job.done()) if group.is_main else None
    run_job(job, load_picture, annotator.annotate, group, pipeline.forget_pictures, progress)
    if options.retry_failed:
        retry_failed(job, has_failed, load_picture, annotator.annotate, group, pipeline.forget_pictures)
    code = 0
    if group.is_main:
        if answers or read_origin(Path(options.out)) is None:
            record = origin_of(options, pipeline, job_settings, job.count)
            # A shard that is made anew holds what it held: the date stays, and so do pages, which repeat it.
            write_origin(Path(options.out), record, renew=not resumed or options.retry_failed)
        code = _finish(options, exports, job)
    group.leave()
    return code


def _settings(options: argparse.Namespace) -> AnnotateSettings:
    captions = options.caption or options.prompt is not None or options.preset is not None
    return AnnotateSettings(
        prompt=asked(options) if captions else None,
        phrases=tuple(dict.fromkeys(options.phrase)),
        ground=options.boxes or bool(options.phrase),
        threshold=options.threshold,
        several=not options.one,
        batch=options.batch,
        generation=generation_options(options),
    )


def _outputs(options: argparse.Namespace, exports: list[Export]) -> Outputs:
    """The files of this run; raises if it would write one that it reads, or one that is there."""
    outputs, manifest = Outputs(options), Path(options.out) / MANIFEST
    outputs.reads("the job's", manifest)
    outputs.writes("--out", origin_file(Path(options.out)), again=True)
    for export in exports:
        outputs.writes(export.option, export.first, again=manifest.exists())
    return outputs


def _job_settings(options: argparse.Namespace, settings: AnnotateSettings, annotator: Annotator) -> dict[str, Any]:
    """What decides a job's records, beside who answers."""
    return {
        "source": [slashed(source) for source in options.source],
        "column": options.column,
        "prompt": settings.prompt,
        "phrases": settings.phrases,
        "boxes": settings.ground,
        "threshold": annotator.threshold,
        "several": settings.several,
        "generation": settings.generation,
    }


def _open_job(
    options: argparse.Namespace,
    settings: AnnotateSettings,
    job_settings: dict[str, Any],
    annotator: Annotator,
    group: ProcessGroup,
    check: Callable[[Job, Callable[[], Iterable[Row]], bool], None],
) -> tuple[Job, bool]:
    """Opens the job. Its items are checked before their list is written, so that what is refused leaves none behind."""
    shards = FORMATS[options.format]()

    def checked(job: Job, rows: Iterable[Row], resumed: bool) -> Iterator[Row]:
        with spooled(rows) as taken_in:
            new = (len(taken_in),) if taken_in else ()
            check(replace(job, counts=(*job.counts, *new)), lambda: chain(job.items(), taken_in), resumed)
            yield from taken_in

    def rows() -> Iterator[Row]:
        empty = Job(Path(options.out), (), options.shard_size, settings.batch, shards)
        yield from checked(empty, _first_images(options), False)
        if not options.dry_run:
            annotator.check_tasks()  # which loads weights; the list is not yet written whole

    return open_job(
        Path(options.out),
        {**annotator.pipeline.identity(), **job_settings},
        rows,
        options.shard_size,
        settings.batch,
        shards,
        group,
        is_record,
        lambda job: checked(job, _new_images(options, job), True),
        options.dry_run,
    )


def _first_images(options: argparse.Namespace) -> Iterator[Row]:
    """Yields the images that a job begins with; tells what is passed over."""
    passed_over = PassedOver()
    yield from list_images(options.source, options.images, options.column, passed_over)
    if passed_over:
        log(f"Passed over: {passed_over}.")


def _new_images(options: argparse.Namespace, job: Job) -> Iterator[Row]:
    """Tells what has changed since a job began; yields the new images with ``--update``."""
    if STDIN in options.source and not options.update:
        return  # it may be closed by now
    new, passed_over = 0, PassedOver()
    try:
        for row in list_images(options.source, options.images, options.column, passed_over, job.items()):
            new += 1
            if options.update:
                yield row
    except InputError as error:
        if options.update:
            raise
        log(f"New images could not be looked for: {error}")
        return
    if new:
        so = "they are taken in" if options.update else "--update takes them in"
        log(f"New since the job began: {new:,} images; {so}.")
    if passed_over.gone:
        log(f"No longer there: {passed_over.gone:,} of the job's {job.count:,} images.")


def _tell(options: argparse.Namespace, settings: AnnotateSettings, exports: list[Export], job: Job) -> None:
    """Says what a run would do."""
    files = [*(export.where for export in exports), *["captions beside the pictures"] * options.sidecars]
    plan: dict[str, Any] = {"dry_run": True, "out": options.out, "images": job.count, "done": job.done()}
    plan |= {"shards": job.shards, "prompt": settings.prompt, "phrases": settings.phrases, "boxes": settings.ground}
    if options.json:
        print_json(plan | {"then": files})
        return
    asked = [f"captions ({settings.prompt!r})"] * (settings.prompt is not None) + ["boxes"] * settings.ground
    print(f"{job.count:,} images, {job.done():,} of them done: {' and '.join(asked)} into {options.out}")
    print(f"{job.shards:,} shards" + "".join(f"; then {file}" for file in files) + ". Nothing was written.")


def _finish(options: argparse.Namespace, exports: list[Export], job: Job) -> int:
    """Writes what was asked for and tells what came of it; returns 1 where any of it failed whole."""
    boxes, failed = 0, 0
    for record in job.records():
        boxes += len(record.get("detections", ()))
        if has_failed(record):
            failed += 1
            if failed <= 3:
                complain(f"iaa annotate: {reason(record)}")
    if failed > 3:
        complain(f"iaa annotate: … {failed - 3:,} more failed; their records say why.")
    if failed:
        log(f"Failed: {failed:,} of {job.count:,} images. Once repaired, they are tried again with --retry-failed.")
    written, problems = write_exports(options, exports, job)
    answered = job.count - failed
    nothing = not answered or any(name.endswith("_failed") and count == answered for name, count in written.items())
    summary = {"out": options.out, "images": job.count, "failed": failed, "boxes": boxes, "shards": job.shards}
    if options.json:
        print_json(summary | written)
    else:
        print(f"{job.count:,} images, {failed:,} failed, {boxes:,} boxes; {job.shards} shards in {options.out}")
        for name, value in written.items():
            print(f"{name}: {value}")
    for problem in problems:
        complain(f"iaa annotate: {problem}")
    return int(nothing or bool(problems))  # records and messages tell of single ones

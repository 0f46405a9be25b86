"""What ``iaa annotate`` writes once a job is done: COCO, pages, data sets of others, and captions beside pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...annotate.annotator import AnnotateSettings, has_failed
from ...annotate.coco import write_coco_boxes, write_coco_captions
from ...annotate.imagefolder import METADATA, name_inside, write_imagefolder
from ...annotate.listed import Listed
from ...annotate.pages import page_files, write_pages
from ...annotate.sidecars import Existing, Sidecars, places, write_sidecars
from ...annotate.tars import check_webdataset, shard_file, write_webdataset
from ...errors import IAAError, InputError
from ...jobs.job import Job, Row
from ...jobs.origin import read_origin
from ..failures import explain, too_long
from ..output import complain, log
from ..outputs import Outputs

Items = Callable[[], Iterable[Row]]
"""Starts an iteration over items."""


@dataclass(frozen=True)
class Export:
    """Files that are made of a finished job.

    Attributes:
        name: in the summary, which says ``where`` they are.
        first: the first of them, or the only one.
        write: writes them; the flag says whether files with other content are replaced. Returns how many pictures are
            missing there.
        more: all of them, of a job of this many items and shards; the first alone when None.
        takes: raises :class:`InputError` for an item that they cannot hold.
        grows: those that are there stay as they are when the job takes in more.
    """

    name: str
    first: Path
    write: Callable[[Job, bool], int | None]
    more: Callable[[Job], list[Path]] | None = None
    takes: Callable[[Row], object] = lambda item: None
    grows: bool = False

    @property
    def option(self) -> str:
        """What asks for them."""
        return f"--{self.name.partition('_')[0]}"

    @property
    def where(self) -> str:
        """The file, or the folder of many."""
        return str(self.first.parent if self.grows else self.first)

    def files(self, job: Job) -> list[Path]:
        """All files of a job."""
        return self.more(job) if self.more else [self.first]


def asked_exports(options: argparse.Namespace, settings: AnnotateSettings) -> list[Export]:
    """What the options ask for; raises :class:`InputError` where a package lacks."""
    found = [*_coco(Path(options.coco), settings)] if options.coco else []
    for given, export in (
        (options.page, _page),
        (options.imagefolder, _imagefolder),
        (options.webdataset, _webdataset),
    ):
        if given:
            found.append(export(Path(given)))
    return found


def _coco(boxes: Path, settings: AnnotateSettings) -> Iterator[Export]:
    """Of boxes, and of captions, which alone have the very name."""
    captions = boxes.with_stem(f"{boxes.stem}-captions") if settings.ground else boxes
    if settings.ground:
        yield Export("coco", boxes, lambda job, again: write_coco_boxes(boxes, job.pairs, overwrite=again))
    if settings.prompt is not None:
        yield Export(
            "coco_captions", captions, lambda job, again: write_coco_captions(captions, job.pairs, overwrite=again)
        )


def _page(first: Path) -> Export:
    return Export(
        "page",
        first,
        lambda job, again: write_pages(first, job.pairs, job.count, read_origin(job.folder), overwrite=again),
        lambda job: page_files(first, job.count),
    )


def _imagefolder(folder: Path) -> Export:
    return Export(
        "imagefolder",
        folder / METADATA,
        lambda job, again: write_imagefolder(folder, job.pairs, overwrite=again),
        takes=lambda item: name_inside(folder, item),
    )


def _webdataset(folder: Path) -> Export:
    check_webdataset()
    return Export(
        "webdataset",
        shard_file(folder, 0),
        lambda job, again: _tell_problems(write_webdataset(folder, job, overwrite=again)),
        lambda job: [shard_file(folder, number) for number in range(job.shards)],
        grows=True,
    )


def check_exports(
    options: argparse.Namespace, exports: list[Export], outputs: Outputs, job: Job, items: Items, resumed: bool
) -> None:
    """Raises if what is written in the end would meet what is there, a picture, or itself: before the work.

    Args:
        options: of the command.
        exports: what they ask for.
        outputs: the files of this run.
        job: as it will be.
        items: of this job.
        resumed: whether it has been there before.
    """
    added = len(job.counts) > 1 and job.done() < job.count
    repaired = resumed and options.retry_failed and any(map(has_failed, job.records_so_far()))
    for export in exports:
        for file in export.files(job):
            # What an earlier run of the job wrote is the same, unless it lacks what was added or is tried again.
            same = resumed and not repaired and (export.grows or not added)
            outputs.writes(export.option, file, again=same)
    for item in items() if exports else ():
        outputs.spares("the picture", Listed.from_row(item).file)
        for export in exports:
            export.takes(item)
    if options.sidecars:
        _check_sidecars(items)


def _check_sidecars(items: Items) -> None:
    """Tells of twins among the pictures; raises :class:`InputError` if captions would meet pictures or each other."""
    for item in items():
        if "member" in item:
            raise InputError(f"{item['image']} lies in a tar file, beside which no caption goes. Use --webdataset.")
    with places(items()) as where:
        if where.twins:
            log(
                f"{where.twins:,} pictures differ from another in nothing but their ending, such as "
                f"{' and '.join(where.example)}: their captions go to {Path(where.example[0]).name}.txt and so on."
            )


def write_exports(options: argparse.Namespace, exports: list[Export], job: Job) -> tuple[dict[str, Any], list[str]]:
    """Writes all that was asked for, also where some of it fails.

    Returns:
        What the summary says of what was written; and of what was not, which option asked for it, and why.
    """
    written: dict[str, Any] = {}
    problems: list[str] = []

    def one(export: Export) -> dict[str, Any]:
        lacking = export.write(job, options.overwrite)
        return {export.name: export.where} | ({f"{export.name}_failed": lacking} if lacking else {})

    parts = [(export.option, partial(one, export)) for export in exports]
    for option, write in (*parts, *[("--sidecars", partial(put_sidecars, options, job))] * options.sidecars):
        try:
            written |= write()
        except (IAAError, OSError) as error:
            reason = str(error) if isinstance(error, IAAError) else explain(error, options)
            problems.append(f"{option} was not written. {reason}{too_long(error, options)}")
    return written, problems


def put_sidecars(options: argparse.Namespace, job: Job) -> dict[str, int]:
    """Writes captions beside their pictures; returns what the summary says."""
    existing: Existing = options.existing or ("overwrite" if options.overwrite else "refuse")
    settings = Sidecars(options.prefix, options.suffix, options.keep_lines, existing)
    captions = write_sidecars(job.pairs, settings)
    _tell_problems(captions.problems)
    more = {"sidecars_skipped": captions.skipped, "sidecars_failed": len(captions.problems)}
    return {"sidecars": captions.count} | {name: count for name, count in more.items() if count}


def _tell_problems(problems: list[str]) -> int:
    for problem in problems[:3]:
        complain(f"iaa annotate: {problem}")
    if len(problems) > 3:
        complain(f"iaa annotate: … and {len(problems) - 3:,} more.")
    return len(problems)

"""``iaa teach``: a new thing from some dozen pictures, kept in a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..adaptors.base import adapted_matrices
from ..config import Task
from ..config.teaching import TeachSettings
from ..jobs.progress import Progress
from ..teaching.examples import by_picture, checked, split
from ..teaching.files import RunFiles
from ..teaching.formats import read_examples
from ..teaching.results import Taught
from ..teaching.scores import told
from ..teaching.teach import check_processes, teach
from .opening import join_processes, open_to_teach
from .output import log, print_json, size_text
from .outputs import Outputs


def run(options: argparse.Namespace) -> int:
    """Teaches, and says what came of it."""
    task, data = Task.parse(options.task), Path(options.data)
    settings = TeachSettings(task, options.rank, options.steps, options.hold_out, options.seed, options.batch)
    files = RunFiles(Path(options.out))
    group = join_processes(options)
    check_processes(settings, group)
    outputs = Outputs(options)
    outputs.reads("the data", data)
    for path in files.results:
        outputs.writes("--out", path, again=files.begun())
    examples = read_examples(data, task, Path(options.images) if options.images else None)
    for picture in {str(example.image) for example in examples}:
        outputs.spares("the picture", picture)
    files.check(overwrite=options.overwrite)
    if options.dry_run:
        if group.is_main:
            _tell(options, examples, settings)
        group.leave()
        return 0
    pipeline = open_to_teach(options)
    matrices = adapted_matrices(pipeline.model.config, task).values()
    size = 2 * settings.rank * sum(outputs + inputs for outputs, inputs in matrices)
    pictures = len(by_picture(examples))
    if group.is_main:
        log(f"{len(examples):,} examples on {pictures:,} pictures; the adaptor will have {size_text(size)}.")
    progress = _Told(quiet=not group.is_main)
    taught = teach(
        pipeline, examples, settings, files.adaptor, overwrite=options.overwrite, on_progress=progress, group=group
    )
    progress.finish()
    if group.is_main:
        _report(options, taught, files)
    group.leave()
    return 0


def _tell(options: argparse.Namespace, examples: list[Any], settings: TeachSettings) -> None:
    """Says what a run would do, after a look at all pictures."""
    learned, held = split(checked(examples, settings.task), settings)
    plan = {
        "examples": len(examples),
        "pictures": len(by_picture(learned)),
        "held_out_pictures": len(by_picture(held)),
        "asked": list(dict.fromkeys(example.asked for example in learned)),
        "out": options.out,
    }
    if options.json:
        print_json({"dry_run": True} | plan)
    else:
        print(f"{plan['pictures']} pictures to learn from, {plan['held_out_pictures']} held out. Nothing was written.")
        print(f"asked: {', '.join(plan['asked'][:20])}")


class _Told:
    """Shows one progress line after another; none where it is quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._what, self._done = quiet, "", 0
        self._line: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Hears how far it is."""
        if self._quiet:
            return
        if what != self._what:
            self.finish()
            self._what, self._line = what, Progress(total, done, what)
        self._done = done
        if self._line is not None:
            self._line.update(done)

    def finish(self) -> None:
        """Ends the line at hand."""
        if self._line is not None:
            self._line.finish(self._done)
        self._line = None


def _report(options: argparse.Namespace, taught: Taught, files: RunFiles) -> None:
    paths = {"adaptor": files.adaptor, "curve": files.curve, "curve_png": files.curve_png}
    if taught.sheet is not None:
        paths["sheet"] = files.sheet
    if options.json:
        result = {name: str(path) for name, path in paths.items()}
        print_json(result | {"kept_step": taught.best, "before": taught.before, "after": taught.after})
        return
    for title, summary in (("before", taught.before), ("after", taught.after)):
        for line in told(summary):
            print(f"{title:<8}{line}")
    print(f"{files.adaptor} ({size_text(files.adaptor.stat().st_size)}), of step {taught.best}")
    print(f"see also {', '.join(map(str, list(paths.values())[1:]))}")

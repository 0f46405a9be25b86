"""``iaa export``: a task as a stock Llama or LLaVA checkpoint, for other engines."""

from __future__ import annotations

import argparse

from ..config import Task
from ..errors import UsageError
from ..export import FORMATS, export
from .opening import open_checkpoint
from .output import log, print_json


def run(options: argparse.Namespace) -> int:
    """Writes the folder."""
    task = Task.parse(options.task)
    if FORMATS[task] != options.to:
        raise UsageError(
            f"Task {task.value} is a {FORMATS[task]} model, not a {options.to} one: use --to {FORMATS[task]}."
        )
    source = open_checkpoint(options)
    out = export(source, task, options.out, progress=lambda name: log(f"wrote {name}"))
    if options.json:
        print_json({"task": task.value, "format": options.to, "folder": str(out)})
    else:
        print(f"{task.value} as a {options.to} checkpoint: {out}")
    return 0

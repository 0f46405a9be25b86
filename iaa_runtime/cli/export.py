"""``iaa export``: a task as a stock Llama or LLaVA checkpoint, or as GGUF, for other engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.writer import check_new_folder
from ..config import Task
from ..errors import UsageError
from ..export import FORMATS, export
from ..export.gguf import export_gguf
from .opening import open_checkpoint
from .output import log, print_json


def run(options: argparse.Namespace) -> int:
    """Writes the folder."""
    task = Task.parse(options.task)
    _check(task, options)
    check_new_folder(Path(options.out))  # before anything is fetched
    out = _write(open_checkpoint(options, task), task, options)
    if options.json:
        print_json({"task": task.value, "format": options.to, "folder": str(out)})
    else:
        print(f"{task.value} as {'GGUF' if options.to == 'gguf' else f'a {options.to} checkpoint'}: {out}")
    return 0


def _check(task: Task, options: argparse.Namespace) -> None:
    if options.to != "gguf" and FORMATS[task] != options.to:
        raise UsageError(
            f"Task {task.value} is a {FORMATS[task]} model, not a {options.to} one: use --to {FORMATS[task]}, or "
            "--to gguf for llama.cpp."
        )
    if options.to != "gguf" and options.type is not None:
        raise UsageError("--type has no effect without --to gguf: other formats keep the dtype that is stored.")


def _write(source: Checkpoint, task: Task, options: argparse.Namespace) -> Path:
    def progress(name: str) -> None:
        log(f"wrote {name}")

    if options.to == "gguf":
        return export_gguf(source, task, options.out, options.type or "f16", progress=progress)
    return export(source, task, options.out, progress=progress)

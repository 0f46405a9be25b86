"""``iaa export``: a task as a stock Llama or LLaVA checkpoint, for other engines."""

from __future__ import annotations

import argparse

from ..config import Task
from ..errors import UsageError
from ..export import FORMATS, export
from .arguments import add_checkpoint_arguments, add_json_argument
from .opening import open_checkpoint
from .output import log, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--task", required=True, choices=[task.value for task in Task], help="which workflow")
    parser.add_argument(
        "--to", required=True, choices=sorted(set(FORMATS.values())), help="llava for MM and G, llama for Text"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; must be new or empty")
    add_checkpoint_arguments(parser)
    add_json_argument(parser)


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

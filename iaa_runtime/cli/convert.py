"""``iaa convert``: a checkpoint in 8 or 4 bits, in a folder that is opened like any other."""

from __future__ import annotations

import argparse

from ..config import Task
from ..export.convert import convert
from ..model.linear.kinds import PRECISIONS
from .arguments import add_checkpoint_arguments, add_json_argument
from .opening import open_checkpoint
from .output import log, print_json, size_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--precision", required=True, choices=PRECISIONS, help="of the large matrices")
    parser.add_argument(
        "--task",
        nargs="+",
        default=[task.value for task in Task],
        choices=[task.value for task in Task],
        help="the tasks that it is to serve (default: all)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; must be new or empty")
    add_checkpoint_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the folder."""
    source = open_checkpoint(options)
    out = convert(source, options.precision, options.out, options.task, progress=lambda name: log(f"wrote {name}"))
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    if options.json:
        print_json({"precision": options.precision, "tasks": options.task, "folder": str(out), "bytes": size})
    else:
        print(f"{', '.join(options.task)} in {options.precision}: {out} ({size_text(size)})")
    return 0

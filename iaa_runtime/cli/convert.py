"""``iaa convert``: a checkpoint in 8 or 4 bits, in a folder that is opened like any other."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint.download import free_bytes
from ..checkpoint.writer import check_new_folder
from ..config import Task
from ..export.convert import convert, converted_files
from .opening import open_checkpoint
from .output import log, print_json, size_text


def run(options: argparse.Namespace) -> int:
    """Writes the folder."""
    out = Path(options.out)
    check_new_folder(out)  # before anything is fetched
    tasks = list(dict.fromkeys(options.task or (task.value for task in Task)))
    source = open_checkpoint(options, *map(Task.parse, tasks))
    if options.dry_run:
        files = converted_files(source, options.precision, tasks)
        size = sum(tensor.nbytes for tensors in files.values() for tensor in tensors.values())
        free = free_bytes(out)
        if options.json:
            names = [*files]
            print_json({"dry_run": True, "folder": str(out), "files": names, "bytes": size, "free_bytes": free})
        else:
            print(f"{', '.join(files)}: {size_text(size)} into {out}, whose disk has {size_text(free)} free.")
            print("Nothing was written.")
        return 0
    out = convert(source, options.precision, out, tasks, progress=lambda name: log(f"wrote {name}"))
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    if options.json:
        print_json({"precision": options.precision, "tasks": tasks, "folder": str(out), "bytes": size})
    else:
        print(f"{', '.join(tasks)} in {options.precision}: {out} ({size_text(size)})")
    return 0

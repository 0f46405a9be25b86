"""What TAB makes of a line: commands, tasks, and files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...config import Task
from ...images.load import endings
from ...text.printable import printable

COMMANDS = ("/clear", "/format ", "/help", "/image ", "/quit", "/save ", "/task ")


def completions(line: str) -> list[str]:
    """All that a line may become, in order; nothing where it is a message."""
    name, blank, rest = line.partition(" ")
    if not blank:
        return [command for command in COMMANDS if line and command.startswith(line)]
    if name == "/task":
        return [f"/task {task.value}" for task in Task if task.value.lower().startswith(rest.lower())]
    ends = {"/image": tuple(endings()), "/format": (".json",), "/save": ("",)}.get(name)
    if ends is not None:
        return [f"{name} {path}" for path in sorted(_paths(rest, ends))]
    return []


def _paths(begun: str, ends: tuple[str, ...]) -> Iterator[str]:
    """Folders, and files of some endings, that a path may become. A terminal would obey some names: those are not."""
    folder, part = os.path.split(begun)
    try:
        entries = list(os.scandir(os.path.expanduser(folder) or os.curdir))
    except (OSError, ValueError):
        return
    for entry in entries:
        if not entry.name.startswith(part) or entry.name.startswith(".") > part.startswith("."):
            continue
        if printable(entry.name) == entry.name and (entry.is_dir() or entry.name.lower().endswith(ends)):
            yield os.path.join(folder, entry.name) + os.sep * entry.is_dir()

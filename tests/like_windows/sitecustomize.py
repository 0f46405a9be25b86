"""Lets Python on Linux refuse what Windows refuses. Put this folder on PYTHONPATH of a process of its own.

Files that the process has open or mapped are not deleted, renamed or replaced, and names that Windows forbids are not
made. Python tells of each such act before it is done (``sys.addaudithook``), and whatever a hook raises prevents it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import PurePosixPath
from typing import Any

FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
ELSEWHERE = ("/proc/", "/dev/", "/sys/")
_busy = False


def _held() -> set[str]:
    """Files that this process has open or mapped."""
    found = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            found.add(line.rstrip("\n").partition("/")[2])
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}").removeprefix("/"))
        except OSError:  # the listing's own
            continue
    return {f"/{path}" for path in found if path}


def _whole(path: Any, folder: Any) -> str:
    """The path that a call means, which may start from an open folder."""
    text = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    parent, name = os.path.split(os.path.abspath(text))
    return os.path.join(os.path.realpath(parent), name)


def _refuse_held(*paths: str) -> None:
    held = _held()
    for path in paths:
        if path in held:
            raise PermissionError(13, "The process cannot access the file because it is being used", path)


def _refuse_name(path: str) -> None:
    name = PurePosixPath(path).name
    if FORBIDDEN.search(name) or RESERVED.fullmatch(name):
        raise OSError(22, "The filename, directory name, or volume label syntax is incorrect", path)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    global _busy
    if _busy:
        return
    _busy = True
    try:
        if event == "os.remove":
            _refuse_held(_whole(*arguments))
        elif event == "os.rename":
            source, target, *folders = arguments
            places = [_whole(path, folder) for path, folder in zip((source, target), folders, strict=True)]
            _refuse_held(*places)
            _refuse_name(places[1])
        elif event == "os.mkdir":
            _refuse_name(_whole(arguments[0], arguments[2]))
        elif event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path, flags = os.fsdecode(arguments[0]), arguments[2]
            if isinstance(flags, int) and flags & os.O_CREAT and not path.startswith(ELSEWHERE):
                _refuse_name(path)
    finally:
        _busy = False


sys.addaudithook(_hook)

"""Turns from a file of JSON lines, or from standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...config import Task
from ...config.formats import checked_format
from ...errors import IAAError, InputError, spelled
from ...jobs.files import check_text, numbered_jsonl, numbered_rows
from ...text.formats import format_check
from ..arguments.shared import STDIN
from ..stdin import byte_stream


class ScriptTurn(NamedTuple):
    """What a line asks: a text, of a task and about a picture where it names others than the line before.

    Its answer is held to ``format``; empty where the line names none.
    """

    text: str
    task: Task | None
    image: str
    format: str


def read_script(path: str) -> Iterator[ScriptTurn]:
    """Yields the turns of a script, those of stdin as they come.

    Raises:
        InputError: a line is no turn; names it.
    """
    rows = numbered_rows(byte_stream(), "stdin") if path == STDIN else numbered_jsonl(Path(path))
    name = "stdin" if path == STDIN else path
    for number, turn in rows:
        if not isinstance(turn.get("text"), str):
            raise InputError(f'{name}, line {number}: needs a "text", as in {{"task": "MM", "text": "What is this?"}}.')
        check_text(turn["text"], f"{name}, line {number}")
        image = turn.get("image") or ""
        if not isinstance(image, str):
            raise InputError(f'{name}, line {number}: "image" is the path of a picture, not {spelled(image)}.')
        if image and not os.path.exists(image):
            raise InputError(f"{name}, line {number}: there is no image at {spelled(image, 200)}. Check the path.")
        try:
            task = Task.parse(turn["task"]) if turn.get("task") else None
            format = _format(turn.get("format") or "")
        except IAAError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
        yield ScriptTurn(turn["text"], task, image, format)


def _format(value: object) -> str:
    """What a line says that its answer is held to; only a format that is given needs the library."""
    format = checked_format(value)
    if format:
        format_check(format)
    return format

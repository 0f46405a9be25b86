"""Turns from a file of JSON lines, or from standard input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...config import GenerationConfig, Task
from ...config.formats import checked_format
from ...errors import IAAError, InputError, spelled
from ...images.load import load_image
from ...jobs.files import check_text, numbered_jsonl, numbered_rows
from ...text.formats import format_check
from ..arguments.shared import STDIN
from ..stdin import byte_stream


class ScriptTurn(NamedTuple):
    """What a line asks: a text, of a task, and about another picture than the line before where it names one.

    Its answer is made with ``settings``, the line's format among them where it names one.
    """

    text: str
    task: Task
    image: str
    settings: dict[str, Any]


def read_script(path: str, task: Task = Task.MM, settings: dict[str, Any] | None = None) -> Iterator[ScriptTurn]:
    """Yields the turns of a script, those of stdin as they come.

    Args:
        path: of its file.
        task: who answers until a line says otherwise.
        settings: generation options of every turn.

    Raises:
        InputError: a line is no turn, its picture cannot be opened, or its format does not go with the settings; names
            the line.
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
        try:
            if image:
                load_image(image)
            task = Task.parse(turn["task"]) if turn.get("task") else task
            held = _held(turn.get("format") or "", task, settings or {})
        except IAAError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
        yield ScriptTurn(turn["text"], task, image, held)


def _held(value: object, task: Task, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with what a line says that its answer is held to; only a format that is given needs the library."""
    format = checked_format(value)
    if not format:
        return settings
    format_check(format)
    held = settings | {"format": format}
    if task is not Task.G:
        GenerationConfig.for_task(task, **held)
    return held

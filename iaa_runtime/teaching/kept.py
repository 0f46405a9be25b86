"""Lessons on disk, so that a run that goes on asks and looks at nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..config import Task
from .files import damage_named, write_state
from .lessons import Lessons, Row
from .losses import Memory


def save_lessons(path: Path, lessons: Lessons) -> None:
    """Writes lessons, whole or not at all."""
    state = {
        "task": lessons.task.value,
        "head": list(lessons.head),
        "features": lessons.features,
        "numbers": lessons.numbers,
        "a_picture": lessons.a_picture,
        "taught": [[_plain(row) for row in rows] for rows in lessons.taught],
        "known": {view: [_plain(row) for row in rows] for view, rows in lessons.known.items()},
    }
    write_state(path, state)


def load_lessons(path: Path) -> Lessons:
    """Reads what :func:`save_lessons` wrote; raises :class:`InputError` where it is damaged."""
    with damage_named(path):
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        taught = [[_row(one) for one in rows] for rows in state["taught"]]
        known = {view: [_row(one) for one in rows] for view, rows in state["known"].items()}
        task, head = Task.parse(state["task"]), tuple(state["head"])
        return Lessons(task, head, state["features"], taught, known, state["numbers"], state["a_picture"])


def _plain(row: Row) -> list[Any]:
    memory = [row.memory.ids, row.memory.shares] if row.memory is not None else None
    return [row.view, list(row.prompt), list(row.answer), row.absent, memory]


def _row(plain: list[Any]) -> Row:
    view, prompt, answer, absent, memory = plain
    return Row(view, tuple(prompt), tuple(answer), absent, Memory(*memory) if memory is not None else None)

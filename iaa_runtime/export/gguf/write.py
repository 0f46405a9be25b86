"""A task as a folder of GGUF files; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ...checkpoint.checkpoint import Checkpoint
from ...checkpoint.writer import new_folder
from ...config import Task
from ...errors import CheckpointError, ConfigError
from ...model.banks import bank_shapes
from . import language, vision
from .class_token import CLASS_TOKEN_FIRST, CLASS_TOKEN_LAST
from .file import TYPES, import_gguf, write_gguf

ARRANGEMENTS = {CLASS_TOKEN_LAST: "mmproj", CLASS_TOKEN_FIRST: "mmproj-fixed"}
"""How a tower's file begins, by what it is for."""


def export_gguf(
    source: Checkpoint,
    task: Task | str,
    out: str | Path,
    type: str = "f16",
    *,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes a task as GGUF files, one tensor at a time.

    For Text ``iaa-text-f16.gguf``. For MM and G ``iaa-g-f16.gguf`` and, in f32 or f16, two forms of tower and projector
    to choose one from: ``mmproj-iaa-g-f16.gguf`` for builds of llama.cpp as they are, and ``mmproj-fixed-…`` for those
    whose LLaVA graph has been mended (see :mod:`.class_token`).

    Args:
        source: the IAA checkpoint, in 16 or 32 bits.
        task: which workflow.
        out: the folder to write; it must not exist, or be empty.
        type: of the language model's matrices, one of ``TYPES``.
        progress: called with the name of each file that is written.

    Returns:
        ``out``.

    Raises:
        InputError: ``out`` holds something already, or there is no package ``gguf``.
        CheckpointError: the checkpoint lacks what the task needs, or was converted to fewer bits; or llama.cpp has
            nothing like it.
        ConfigError: there is no such type.
    """
    task, out = Task.parse(task), Path(out)
    if type not in TYPES:
        raise ConfigError(f"There is no type {type!r} of GGUF here; there are {', '.join(TYPES)}.")
    if source.precision is not None:
        raise CheckpointError(
            f"{source.folder} was converted to {source.precision}, in a form of ours that llama.cpp does not read. "
            "Export from the checkpoint that it was made from."
        )
    import_gguf()
    if task.sees:
        vision.check(source)
    for bank in task.banks:
        source.check(bank, bank_shapes(bank, source.config, source.vision))
    with new_folder(out) as folder:
        for name, write in _files(source, task, type):
            write(folder / name)
            if progress is not None:
                progress(name)
    return out


def _files(source: Checkpoint, task: Task, kind: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Names of a task's files, and what writes each."""
    short = f"iaa-{task.value.lower()}"
    describe = partial(_describe, source, task, kind)
    tensors = language.tensors(source, task, kind)
    yield f"{short}-{kind}.gguf", partial(write_gguf, architecture="llama", describe=describe, tensors=tensors)
    eye = "f32" if kind == "f32" else "f16"
    for arrangement, prefix in ARRANGEMENTS.items() if task.sees else ():
        tensors = vision.tensors(source, task, eye, arrangement)
        tower = partial(_describe_tower, source, task, eye, arrangement)
        yield f"{prefix}-{short}-{eye}.gguf", partial(write_gguf, architecture="clip", describe=tower, tensors=tensors)


def _describe(source: Checkpoint, task: Task, kind: str, writer: Any) -> None:
    writer.add_type("model")
    writer.add_name(f"IAA {task.value}")
    language.describe(writer, source, task, kind)
    language.add_vocabulary(writer, source.folder, task, source.config.vocab_size)


def _describe_tower(source: Checkpoint, task: Task, kind: str, arrangement: str, writer: Any) -> None:
    writer.add_type("mmproj")
    writer.add_name(f"IAA {task.value}, tower and projector")
    vision.describe(writer, source, kind, arrangement)

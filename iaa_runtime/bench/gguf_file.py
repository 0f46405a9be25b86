"""A task's language model as a GGUF without a vocabulary, with which llama.cpp is timed: ids go in, logits come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint.checkpoint import Checkpoint
from ..config import Task
from ..export.gguf import language
from ..export.gguf.file import write_gguf

KINDS = ("Q4_0", "Q8_0")
"""Kinds of the blocks' matrices, as llama.cpp spells them: 4 and 8 bits."""


def write_without_vocabulary(source: Checkpoint, task: Task, kind: str, file: Path) -> Path:
    """Writes a task's blocks, embedding, norm and head to ``file``, and returns it; random weights have no words."""

    def describe(writer: Any) -> None:
        writer.add_tokenizer_model("no_vocab")
        language.describe(writer, source, task, kind.lower())

    write_gguf(file, "llama", describe, language.tensors(source, task, kind.lower()))
    return file

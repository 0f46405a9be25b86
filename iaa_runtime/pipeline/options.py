"""Keyword arguments of the workflows, so that a type checker and an editor know them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from ..config import GenerationOptions, PrecisionName
from ..errors import Cancel

OnText = Callable[[int, str], None] | None
"""Called with (row, new text) as answers grow."""
OnToken = Callable[[int, int], None] | None
"""Called with (row, token id) for every token."""


class ReplyOptions(GenerationOptions, total=False):
    """Of one answer: who hears of it while it is written, and how it is decoded."""

    on_text: OnText
    on_token: OnToken
    cancelled: Cancel


class GroundOptions(GenerationOptions, total=False):
    """Of answers with boxes; what they mean stands at :meth:`.base.Pipeline.ground_answers`."""

    grammar: bool
    several: bool
    on_token: OnToken
    cancelled: Cancel
    batch_rows: int


class OpenOptions(TypedDict, total=False):
    """Of a checkpoint; what they mean stands at :meth:`.model.IAAModel.from_pretrained`."""

    precision: PrecisionName | None
    cuda_graphs: bool
    vision_tower: str | Path | None
    download: bool
    revision: str | None

"""Adaptors merged into the weights: a checkpoint that reads as if it had been trained so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ..checkpoint.checkpoint import MERGED, MERGED_TASKS, Change, Checkpoint
from ..config import BankName
from ..errors import ConfigError
from .base import adapted_bank
from .loaded import Chosen
from .low_rank import Update


def merged(checkpoint: Checkpoint, chosen: Sequence[Chosen]) -> Checkpoint:
    """The checkpoint with ``scale * b @ a`` added to each matrix that an adaptor updates, in float32, as it is read.

    Raises:
        AdaptorError: an adaptor was taught on another model.
        ConfigError: the checkpoint was converted to fewer bits.
    """
    chosen = [(adaptor, strength) for adaptor, strength in chosen if strength]
    if not chosen:
        return checkpoint
    if checkpoint.precision is not None:
        raise ConfigError(
            f"{checkpoint.folder} was converted to {checkpoint.precision}: nothing can be merged into that without "
            "rounding it anew. Merge into the checkpoint it was made from, or use the adaptor beside it."
        )
    updates: dict[tuple[BankName, str], list[Update]] = {}
    for adaptor, strength in chosen:
        adaptor.check_fits(checkpoint)
        for name, update in adaptor.updates(strength).items():
            updates.setdefault((adapted_bank(adaptor.task), f"{name}.weight"), []).append(update)
    changes: dict[tuple[BankName, str], Change] = {key: partial(_added, each) for key, each in updates.items()}
    before, tasks = checkpoint.config_raw.get(MERGED), checkpoint.config_raw.get(MERGED_TASKS)
    notes = [*(before if isinstance(before, list) else ()), *([a.digest, strength] for a, strength in chosen)]
    told = {**(tasks if isinstance(tasks, dict) else {}), **{a.digest: a.task.value for a, _ in chosen}}
    return checkpoint.changed(changes, {MERGED: notes, MERGED_TASKS: told})


def _added(updates: Sequence[Update], first: int, rows: Tensor) -> Tensor:
    """Rows of a matrix (n, M), of which ``first`` is the first -> the same with the updates, float32."""
    out = rows.float()
    for update in updates:
        b = update.b[first : first + len(rows)].to(rows.device).float()
        out = out + update.scale * (b @ update.a.to(rows.device).float())
    return out

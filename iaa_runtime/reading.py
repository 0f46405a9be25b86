"""Reading a bank into the form in which it is computed with: dtype, layout, precision. One tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .config import BankName
from .model.banks import bank_shapes
from .model.precision import layer_for, shrink


def read_bank(
    checkpoint: Checkpoint, bank: BankName, dtype: torch.dtype, device: torch.device, precision: str | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yields a bank's tensors under the names that its module has at this precision.

    Args:
        checkpoint: where they are.
        bank: which.
        dtype: of all that does not shrink, and of the scales of what does.
        device: where they go.
        precision: one of :data:`.model.precision.PRECISIONS`; None shrinks nothing. What shrinks is read in pieces of
            rows, so that no full-precision copy of it is ever held.
    """
    # Not the module's own names: a host's layers may have no parameters until weights are assigned.
    shapes = bank_shapes(bank, checkpoint.config, checkpoint.vision)
    small = {name: kind for name in shapes if precision and (kind := layer_for(precision, name))}
    # Elsewhere products take either layout alike.
    by_column = matvec_columns(shapes) if device.type == "cpu" and dtype == torch.float32 else []
    yield from checkpoint.read(bank, [name for name in shapes if name not in small], dtype, device, by_column)
    for name, kind in small.items():
        weight, scale = shrink(kind, checkpoint.pieces(bank, name, device), dtype)
        yield name, weight
        yield name.removesuffix("weight") + "scale", scale


def matvec_columns(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Matrices that a CPU multiplies by one vector faster when their memory runs along columns: those taller than wide.

    MKL sums a row at a time, and a short row is over before it is up to speed: at 512 long, half the memory's rate is
    lost (benchmarks/README.md). Many vectors at once cost the same either way. Tables that are looked up stay in rows.
    """
    return [n for n, s in shapes.items() if len(s) == 2 and s[0] > s[1] and "embed" not in n]

"""Reading a bank into the form in which it is computed with: dtype, layout, precision. One tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..checkpoint.checkpoint import Checkpoint
from ..config import BankName
from .banks import bank_shapes, special_layer
from .linear.onednn import OneDNNLinear
from .linear.quantized import QuantizedLinear, shrink


def read_bank(
    checkpoint: Checkpoint,
    bank: BankName,
    dtype: torch.dtype,
    device: torch.device,
    precision: str | None = None,
    onednn: bool = False,
) -> Iterator[tuple[str, Tensor]]:
    """Yields a bank's tensors under the names that its module has in this form.

    Args:
        checkpoint: where they are.
        bank: which.
        dtype: of all that does not shrink, and of the scales of what does.
        device: where they go.
        precision: one of :data:`.model.precision.PRECISIONS`; None shrinks nothing. What shrinks is read in pieces of
            rows, so that no full-precision copy of it is ever held.
        onednn: as :func:`.model.banks.build_bank` says.
    """
    # Not the module's own names: a host's layers may have no parameters until weights are assigned.
    names = bank_shapes(bank, checkpoint.config, checkpoint.vision)
    kinds = {name: special_layer(name, precision, onednn) for name in names}
    stored = checkpoint.stored_dtypes(bank)
    packs = [name for name, kind in kinds.items() if kind is OneDNNLinear and kind.packs(stored[name], dtype)]
    plain = [name for name, kind in kinds.items() if kind in (None, OneDNNLinear) and name not in packs]
    yield from checkpoint.read(bank, plain, dtype, device)
    for name, tensor in checkpoint.read(bank, packs, dtype, device, brief=True):
        yield name, OneDNNLinear.pack(tensor)
    for name, kind in kinds.items():
        if kind is not None and issubclass(kind, QuantizedLinear):
            weight, scale = shrink(kind, checkpoint.pieces(bank, name, device), dtype)
            yield name, weight
            yield name.removesuffix("weight") + "scale", scale

"""The roofline: how fast each step could be at best on this machine, from its measured memory and matrix rates.

Decode at batch 1 reads every weight of the blocks and the head once a token, so it takes at least
``bytes / memory rate``. Prefill multiplies each weight with each token: ``2 · parameters · tokens / matrix rate``.
Loading moves the bank once: ``bytes / rate of a file in the page cache``. (Williams, Waterman and Patterson, "Roofline:
an insightful visual performance model for multicore architectures", 2009.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import names
from ..config import IAAConfig, Task
from ..generation.memory import Format
from ..model.banks import bank_bytes, bank_shapes
from ..model.linear.onednn import OneDNNLinear, can_multiply
from .timing import Clock

REPEATS = 5
COLUMNS = 4096
"""Of the matrix that is read: as many as the published model's hidden size."""


@dataclass(frozen=True)
class Machine:
    """Rates as measured: ``memory`` in bytes moved a second, ``matrix`` in multiply-adds × 2 a second."""

    memory: float
    matrix: float


def measure_machine(dtype: torch.dtype, device: torch.device, clock: Clock) -> Machine:
    """Moves a buffer much larger than any cache, and multiplies large square matrices; takes the best of several.

    A step reads weights and writes next to nothing, and many machines read faster than they copy, others the other way
    round. So the buffer is copied, summed, and multiplied with a vector, and the memory's rate is the highest of these.
    """
    accelerator = device.type != "cpu"
    source = torch.ones((512 << 20) // 4 if accelerator else (128 << 20) // 4, device=device)
    target = torch.empty_like(source)
    side = 8192 if accelerator else 2048
    square = torch.ones((side, side), dtype=dtype, device=device)
    products: list[Callable[[], Tensor]] = [lambda: square @ square]
    if can_multiply(dtype, device):
        layer = OneDNNLinear(side, side, dtype=dtype)
        layer.weight = OneDNNLinear.pack(square)
        products.append(lambda: layer(square))
    copying = min(clock.time(lambda: target.copy_(source)) for _ in range(REPEATS))
    matrix, vector = source.view(-1, COLUMNS), source[:COLUMNS]
    reads: list[Callable[[], Tensor]] = [source.sum, lambda: matrix @ vector]
    reading = min(clock.time(read) for _ in range(REPEATS) for read in reads)
    multiplying = min(clock.time(product) for _ in range(REPEATS) for product in products)
    return Machine(max(2 * source.nbytes / copying, source.nbytes / reading), 2 * side**3 / multiplying)


def decode_bytes(config: IAAConfig, task: Task, form: Format) -> int:
    """Bytes of weights that one decode step reads, whatever the batch: of blocks, norm and head."""
    banks = [bank_bytes(bank, config, None, form.dtype, form.kinds) for bank in ("base", task.stack_bank)]
    unread = (names.EMBEDDING, names.PROJECTOR)
    return sum(size for bank in banks for name, size in bank.items() if not name.startswith(unread))


def block_parameters(config: IAAConfig, task: Task) -> int:
    """Weights that each prefilled token is multiplied with: the blocks' matrices (the head sees one token)."""
    banks = [bank_shapes(bank, config, None) for bank in ("base", task.stack_bank)]
    shapes = [shape for bank in banks for name, shape in bank.items() if name.startswith(names.BLOCKS)]
    return sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def warm_load_seconds(files: list[Path], count: int) -> float:
    """Wall seconds that it takes to read ``count`` bytes of files into a buffer, the second time."""
    buffer, seconds = bytearray(16 << 20), 0.0
    for _ in range(2):
        left, begin = count, time.perf_counter()
        for file in files:
            with file.open("rb", buffering=0) as opened:
                while left > 0 and (got := opened.readinto(buffer)):
                    left -= got
        seconds = time.perf_counter() - begin
    return seconds

"""What the machine can do at best: memory rate and matrix rate, measured in the run, and the floors they give.

Decode at batch 1 reads every weight of the stack and the head once a token, so it takes at least
``bytes / memory rate``; prefill multiplies each weight with each token, so at least
``2 · parameters · tokens / matrix rate``; loading moves the bank once, ``bytes / rate of a warm file``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import IAAConfig, Task
from ..generation.memory import Format
from ..model.banks import bank_shapes
from ..model.linear.onednn import OneDNNLinear, can_multiply
from ..model.linear.quantized import stored_bytes
from .timing import Clock

REPEATS = 5


@dataclass(frozen=True)
class Machine:
    """Rates as measured: ``memory`` in bytes read or written a second, ``matrix`` in multiply-adds × 2 a second."""

    memory: float
    matrix: float


def measure_machine(dtype: torch.dtype, device: torch.device, clock: Clock) -> Machine:
    """Copies a buffer far above any cache, and multiplies large square matrices; the best of several."""
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
    multiplying = min(clock.time(product) for _ in range(REPEATS) for product in products)
    return Machine(2 * source.nbytes / copying, 2 * side**3 / multiplying)


def _decoded(config: IAAConfig, task: Task) -> dict[str, tuple[int, ...]]:
    """The tensors of which every element is read for each token: blocks, norm and head, not the embedding table."""
    shapes = {f"base.{n}": s for n, s in bank_shapes("base", config, None).items()}
    for name, shape in bank_shapes(task.stack_bank, config, None).items():
        if not name.startswith(("embed_tokens.", "projector.")):
            shapes[f"own.{name}"] = shape
    return shapes


def decode_bytes(config: IAAConfig, task: Task, form: Format) -> int:
    """Bytes of weights that one decode step reads, whatever the batch."""
    return sum(
        stored_bytes(form.precision, name.partition(".")[2], shape, form.dtype.itemsize)
        for name, shape in _decoded(config, task).items()
    )


def block_parameters(config: IAAConfig, task: Task) -> int:
    """Weights that each prefilled token is multiplied with: the blocks' matrices (the head sees one token)."""
    return sum(s[0] * s[1] for n, s in _decoded(config, task).items() if len(s) == 2 and "lm_head" not in n)


def warm_read_seconds(files: list[Path], count: int) -> float:
    """Wall seconds that reading ``count`` bytes of files takes, the second time."""
    buffer, seconds = bytearray(16 << 20), 0.0
    for _ in range(2):
        left, begin = count, time.perf_counter()
        for file in files:
            with file.open("rb", buffering=0) as opened:
                while left > 0 and (got := opened.readinto(buffer)):
                    left -= got
        seconds = time.perf_counter() - begin
    return seconds

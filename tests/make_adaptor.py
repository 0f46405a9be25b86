"""Makes adaptors of random numbers, which change what a model says without making nonsense of it."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import torch

from iaa_runtime.adaptors.base import adapted_matrices, base_fingerprint
from iaa_runtime.adaptors.file import Adaptor, Pair, write_adaptor
from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.config import Task


def random_adaptor(
    folder: Path, task: str, *, rank: int = 4, size: float = 0.3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Adaptor:
    """An adaptor for the checkpoint in ``folder``; each update is ``size`` as large as a random weight of its shape."""
    checkpoint, alpha = Checkpoint(folder), 2.0 * rank
    pairs: dict[str, Pair] = {}
    for name, (outputs, inputs) in adapted_matrices(checkpoint.config, Task(task)).items():
        random = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ (seed * 0x9E3779B1 % 2**32))
        a = torch.randn((rank, inputs), generator=random) / math.sqrt(inputs)
        b = torch.randn((outputs, rank), generator=random) * size / math.sqrt(rank) * rank / alpha
        pairs[name] = Pair(a.to(dtype), b.to(dtype))
    base = base_fingerprint(checkpoint, Task(task))
    about = {"steps": 3, "learning_rate": 1e-3}
    return Adaptor(Task(task), rank, alpha, base, pairs, ("the heart",), about, {"before": {"p": 0.1}, "after": {}})


def write_random(file: Path, folder: Path, task: str, **options: float) -> Path:
    """Writes a random adaptor for the checkpoint in ``folder``; returns ``file``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_adaptor(file, random_adaptor(folder, task, **options))  # type: ignore[arg-type]
    return file

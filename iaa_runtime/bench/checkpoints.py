"""Checkpoints of random weights in the published layout, which may be larger than memory."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import DEMO_CHECKPOINT
from ..checkpoint.writer import LazyTensor, new_folder, write_file
from ..config import BANK_NAMES, BankName
from ..model.banks import bank_shapes
from .choices import SIZES, Size

POOL = (1 << 20) + 7
"""How many random numbers all weights are taken from; odd, so that no two rows of a matrix are alike."""


def kept_checkpoint(folder: Path, size: str, seed: int, log: Callable[[str], None]) -> Path:
    """The checkpoint of a size of ``SIZES`` in a folder below ``folder``, in bfloat16 as the published one is; written
    where it is not there yet.

    The folder has the name of the size and, other than 0, the seed: ``wide``, ``wide-seed-3``.
    """
    target = folder / (f"{size}-seed-{seed}" if seed else size)
    if not target.exists():
        log(f"writing a checkpoint of size {size} …")
        with new_folder(target) as partial:
            write_checkpoint(partial, SIZES[size], torch.bfloat16, seed)
    return target


def write_checkpoint(folder: Path, size: Size, dtype: torch.dtype, seed: int = 0) -> Path:
    """Writes a checkpoint with the demo's tokenizer; the same seed gives the same values. Returns ``folder``."""
    tower = folder / "clip"
    tower.mkdir(parents=True)
    config = replace(size.config, mm_vision_tower="clip")
    (folder / "config.json").write_text(json.dumps({"model_type": "IAA"} | asdict(config)))
    (tower / "config.json").write_text(json.dumps(asdict(size.vision)))
    for file in DEMO_CHECKPOINT.glob("*token*.json"):
        shutil.copyfile(file, folder / file.name)
    language = [bank for bank in BANK_NAMES if bank != "vision"]
    for number, bank in enumerate(language, 1):
        file = folder / f"model-{number:05}-of-{len(language):05}.safetensors"
        _write(file, bank, bank_shapes(bank, config, size.vision), dtype, seed)
    _write(tower / "model.safetensors", "vision", _whole_tower(size), dtype, seed)
    return folder


def _whole_tower(size: Size) -> dict[str, tuple[int, ...]]:
    """Shapes of the tower's tensors, those behind the selected layer too: other engines want them."""
    shapes = bank_shapes("vision", replace(size.config, mm_vision_select_layer=-1), size.vision)
    return {**shapes, **{f"{names.TOWER_END}{part}": (size.vision.hidden_size,) for part in ("weight", "bias")}}


def _write(file: Path, bank: BankName, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, seed: int) -> None:
    published = {names.published_name(bank, name): shape for name, shape in shapes.items()}
    write_file(
        file,
        {
            name: LazyTensor(shape, dtype, partial(_values, name, shape, dtype, seed))
            for name, shape in published.items()
        },
    )


def _values(name: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Iterator[Tensor]:
    """Numbers from the pool, from a place that depends on the name, of sizes that keep activations near 1."""
    if "norm" in name and name.endswith("weight"):
        pool = _pool(seed, 1, 0.1, dtype)
    elif len(shape) < 2 or "embed" in name:
        pool = _pool(seed, 0, 0.4, dtype)
    else:
        pool = _pool(seed, 0, math.prod(shape[1:]) ** -0.5, dtype)
    count, start = math.prod(shape), zlib.crc32(name.encode()) % POOL
    while count:
        part = pool[start : start + count]
        count, start = count - len(part), 0
        yield part


@cache
def _pool(seed: int, mean: float, deviation: float, dtype: torch.dtype) -> Tensor:
    """Normally distributed numbers, (POOL,). Kept, since a model's matrices ask for a handful of deviations."""
    numbers = torch.randn(POOL, generator=torch.Generator().manual_seed(seed))
    return (mean + deviation * numbers).to(dtype)

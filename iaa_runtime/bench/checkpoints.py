"""Checkpoints of random weights in the published layout, written tensor by tensor: they may be larger than memory."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint.checkpoint import PREFIXES
from ..config import BANK_NAMES, BankName, IAAConfig, VisionConfig
from ..model.banks import bank_shapes
from ..pipeline.local import DEMO_CHECKPOINT

POOL = (1 << 20) + 7
"""Random numbers that all weights are taken from; odd, so that no two rows of a matrix are alike."""

STORED = {torch.float32: "F32", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Size:
    """A checkpoint's geometry."""

    config: IAAConfig
    vision: VisionConfig


SIZES = {
    "tiny": Size(
        IAAConfig(64, 128, 4, 2, 1680, 64, 1, iaa_insert_layers=(0, 3), mm_projector_type="mlp2x_gelu"),
        VisionConfig(64, 128, 2, 2, image_size=56),
    ),
    "small": Size(
        IAAConfig(512, 1792, 32, 8, 8192, 256, 2, mm_projector_type="mlp2x_gelu"),
        VisionConfig(256, 1024, 6, 4),
    ),
    "full": Size(
        IAAConfig(
            4096,
            14336,
            32,
            32,
            128256,
            1024,
            8,
            rope_theta=500000.0,
            max_position_embeddings=8192,
            mm_projector_type="mlp2x_gelu",
        ),
        VisionConfig(),
    ),
}
"""``tiny`` tries the program out, ``small`` is for CPUs, ``full`` is Llama-3-8B with CLIP-L (33 GB in bfloat16)."""


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
        _write(file, _published(bank, bank_shapes(bank, config, size.vision)), dtype, seed)
    _write(tower / "model.safetensors", _whole_tower(size), dtype, seed)
    return folder


def _published(bank: BankName, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    named = {}
    for name, shape in shapes.items():
        ours = next(prefix for prefix in PREFIXES[bank] if name.startswith(prefix))
        named[PREFIXES[bank][ours] + name.removeprefix(ours)] = shape
    return named


def _whole_tower(size: Size) -> dict[str, tuple[int, ...]]:
    """The hub's names of the tower's tensors, those behind the selected layer too: other engines want them."""
    whole = bank_shapes("vision", replace(size.config, mm_vision_select_layer=-1), size.vision)
    behind = {f"tower.post_layernorm.{part}": (size.vision.hidden_size,) for part in ("weight", "bias")}
    return {name.replace("tower.", "vision_model.", 1): shape for name, shape in {**whole, **behind}.items()}


def _write(file: Path, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype, seed: int) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": STORED[dtype], "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(seed))
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            values = _scaled(name, shape)
            for part in _from_pool(pool, math.prod(shape), zlib.crc32(name.encode()) % POOL):
                out.write(values(part).to(dtype).view(torch.uint8).numpy().data)


def _from_pool(pool: Tensor, count: int, start: int) -> Iterator[Tensor]:
    while count:
        part = pool[start : start + count]
        yield part
        count, start = count - len(part), 0


def _scaled(name: str, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Sizes that keep activations near 1 through any number of layers."""
    if "norm" in name and name.endswith("weight"):
        return lambda x: 1 + 0.1 * x
    if len(shape) < 2 or "embed" in name:
        return lambda x: 0.4 * x
    return lambda x: x / math.sqrt(math.prod(shape[1:]))

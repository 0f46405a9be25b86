"""Converts a checkpoint to a lower precision, once: to a folder that opens like any other, without rounding anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import PRECISION, Checkpoint
from ..checkpoint.writer import LazyTensor, new_folder, write_file, write_index, write_json
from ..config import BANK_NAMES, BankName, Task
from ..errors import ConfigError
from ..model.banks import bank_shapes, build_bank
from ..model.linear.kinds import stored_kinds
from ..model.linear.quantized import QuantizedLinear, scale_name
from ..text.tokenizer import load_tokenizer

TOWER = "clip"
"""The folder of the vision tower within a converted checkpoint."""
TOWER_FILE = f"{TOWER}/model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def convert(
    source: Checkpoint,
    precision: str,
    out: str | Path,
    tasks: Sequence[Task | str] = tuple(Task),
    *,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes a checkpoint anew with its large matrices in 8 or 4 bits, the rest as it is stored.

    Names are the published ones; a matrix has its scales beside it (``weight_scale``) and a note that says its form
    (``comfy_quant``), as in ComfyUI's quantized checkpoints. Each bank is a file, and the tower a folder.

    Args:
        source: the checkpoint, in 16 or 32 bits.
        precision: ``"fp8"``, ``"int8"`` or ``"int4"``.
        out: the folder to write; it must not exist, or be empty.
        tasks: the workflows that it is to serve; only their banks are written.
        progress: called with the name of each file that is written.

    Returns:
        ``out``.

    Raises:
        InputError: ``out`` holds something already.
        CheckpointError: the checkpoint lacks what a task needs, or its tokenizer.
        ConfigError: there is no such precision, or ``source`` was converted itself.
    """
    files, out = converted_files(source, precision, tasks), Path(out)
    with new_folder(out) as folder:
        for file, tensors in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            write_file(folder / file, tensors)
            if progress is not None:
                progress(file)
        if files.pop(TOWER_FILE, None):
            write_json(folder / TOWER / "config.json", asdict(source.require_vision()))
        write_index(folder, files)
        write_json(folder / "config.json", source.config_raw | {PRECISION: precision, "mm_vision_tower": TOWER})
        for name in TOKENIZER_FILES:
            if (source.folder / name).is_file():
                shutil.copyfile(source.folder / name, folder / name)
    return out


def converted_files(
    source: Checkpoint, precision: str, tasks: Sequence[Task | str] = tuple(Task)
) -> dict[str, dict[str, LazyTensor]]:
    """The weight files that :func:`convert` writes, of which nothing is computed yet; raises what it does."""
    stored_kinds(precision)
    if source.precision is not None:
        raise ConfigError(
            f"{source.folder} was converted to {source.precision} already. Convert the checkpoint it was made from."
        )
    wanted = {bank for task in tasks for bank in Task.parse(task).banks}
    banks = [bank for bank in BANK_NAMES if bank in wanted]
    load_tokenizer(source.folder)  # without one the new folder could not be opened
    if "vision" in banks:
        source.require_vision()
    for bank in banks:
        source.check(bank, bank_shapes(bank, source.config, source.vision))
    names = {bank: TOWER_FILE if bank == "vision" else f"{bank}.safetensors" for bank in banks}
    return {names[bank]: _converted(source, bank, precision) for bank in banks}


def _converted(source: Checkpoint, bank: BankName, precision: str) -> dict[str, LazyTensor]:
    """A bank's tensors as they are to be stored, by their published names."""
    shape = (source.config, source.vision)
    module = build_bank(bank, *shape, kinds=stored_kinds(precision))
    kinds = {f"{path}.weight": m for path, m in module.named_modules() if isinstance(m, QuantizedLinear)}
    tensors: dict[str, LazyTensor] = {}
    for name in bank_shapes(bank, *shape):
        published = names.published_name(bank, name)
        if name not in kinds:
            tensors[published] = source.stored(bank, name)
            continue
        layer = kinds[name]
        quantizing = _Quantizing(layer, partial(source.chunks, bank, name, "cpu"))
        scale = getattr(layer, layer.SCALE)
        tensors[published] = LazyTensor(tuple(layer.weight.shape), layer.weight.dtype, quantizing.weight)
        tensors[scale_name(published)] = LazyTensor(tuple(scale.shape), scale.dtype, quantizing.scale)
        note = torch.frombuffer(bytearray(json.dumps(layer.format(layer.in_features)).encode()), dtype=torch.uint8)
        tensors[published.removesuffix(".weight") + names.QUANTIZATION] = LazyTensor.of(note, torch.uint8)
    return tensors


class _Quantizing:
    """Quantizes a weight chunk by chunk while it is written, and keeps the scales, which are written after it."""

    def __init__(self, kind: QuantizedLinear, chunks: Callable[[], Iterator[Tensor]]) -> None:
        self._kind, self._chunks = kind, chunks
        self._scales: list[Tensor] = []

    def weight(self) -> Iterator[Tensor]:
        """The weight as stored."""
        quantize = self._kind.quantizer(self._chunks)
        for rows in self._chunks():
            stored, scale = quantize(rows)
            self._scales.append(scale)
            yield stored

    def scale(self) -> Iterator[Tensor]:
        """Its scales."""
        yield self._kind.join(self._scales)
        self._scales.clear()

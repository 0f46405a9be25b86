"""Writes an exported checkpoint, shard by shard, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import Checkpoint
from ..config import BankName, IAAConfig, Task
from ..errors import CheckpointError, InputError
from ..model.banks import bank_shapes
from ..text.conversation import BEGIN_OF_TEXT, EOT, IMAGE_TOKEN
from ..text.tokenizer import load_tokenizer, token_id
from . import configs

FORMATS = {Task.MM: "llava", Task.G: "llava", Task.TEXT: "llama"}
"""The stock class that each task is."""

SHARD_BYTES = 1 << 30
"""Size of a shard, and so of the memory that writing one takes."""


def export(
    source: Checkpoint,
    task: Task | str,
    out: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes one task of a checkpoint as a stock Llama or LLaVA, in the dtype it is stored in.

    Args:
        source: the IAA checkpoint.
        task: which workflow.
        out: the folder to write; it must not exist, or be empty.
        shard_bytes: upper bound of a weight file, unless one tensor is larger.
        progress: called with the name of each file that is written.

    Returns:
        ``out``.

    Raises:
        InputError: ``out`` holds something already.
        CheckpointError: the checkpoint lacks what the task needs.
    """
    task, out = Task.parse(task), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something already. Choose another folder, or empty this one.")
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)  # ours from here on: what is there already is somebody else's
    except OSError as error:
        raise InputError(
            f"{partial}, where the files are written first, cannot be made ({error.strerror or error}). "
            "Remove it, or choose another --out."
        ) from error
    try:
        dtype = _write_weights(source, task, partial, shard_bytes, progress)
        _write_configs(source, task, partial, dtype)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _tensors(source: Checkpoint, task: Task) -> Iterator[tuple[str, Tensor]]:
    """Yields the task's tensors under the hub's names, as stored."""
    config = source.config
    base, adaptors = names.block_positions(config, task)
    prefix = names.LLAVA if task.sees else names.LLAMA
    for bank in task.banks:
        positions = base if bank == "base" else adaptors
        for name, tensor in source.read_stored(bank, _wanted(source, bank)):
            yield names.hub_name(bank, name, positions, prefix), tensor
    if task.sees and config.mm_projector_type == "linear":
        dtype = getattr(torch, min(source.dtypes(task.stack_bank)))
        yield "multi_modal_projector.linear_2.weight", torch.eye(config.hidden_size, dtype=dtype)
        yield "multi_modal_projector.linear_2.bias", torch.zeros(config.hidden_size, dtype=dtype)


def _wanted(source: Checkpoint, bank: BankName) -> list[str]:
    shapes = bank_shapes(bank, source.config, source.vision)
    source.check(bank, shapes)
    if bank != "vision":
        return list(shapes)
    # Engines build the whole tower, also the layers behind the one that IAA reads.
    present = source.names(bank)
    last = f"tower.encoder.layers.{source.require_vision().num_hidden_layers - 1}."
    if not any(name.startswith(last) for name in present) or "tower.post_layernorm.weight" not in present:
        raise CheckpointError(
            f"The vision tower of {source.folder} lacks its last layers, which IAA does not need but other engines do. "
            "Use a complete CLIP tower: pass its folder as vision_tower."
        )
    return present


def _write_weights(
    source: Checkpoint, task: Task, folder: Path, shard_bytes: int, progress: Callable[[str], None] | None
) -> str:
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total, dtypes = 0, set()

    def flush() -> None:
        nonlocal held
        name = f"shard-{len(shards) + 1}.safetensors"
        save_file(held, folder / name, metadata={"format": "pt"})
        shards.append(list(held))
        held = {}
        if progress is not None:
            progress(name)

    for name, tensor in _tensors(source, task):
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > shard_bytes:
            flush()
        held[name] = tensor.contiguous()
        total += tensor.nbytes
        dtypes.add(str(tensor.dtype).removeprefix("torch."))
    flush()
    weight_map = {}
    for number, members in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{number}.safetensors").rename(folder / name)
        weight_map.update(dict.fromkeys(members, name))
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    # Norms are sometimes kept in float32 beside 16-bit weights; engines are told the smaller.
    return min(dtypes, key=lambda name: getattr(torch, name).itemsize)


def _write_configs(source: Checkpoint, task: Task, folder: Path, dtype: str) -> None:
    config: IAAConfig = source.config
    tokenizer = load_tokenizer(source.folder)
    bos, eos = token_id(tokenizer, BEGIN_OF_TEXT), token_id(tokenizer, EOT)
    blocks = config.num_blocks if task.sees else config.num_hidden_layers
    llama = configs.llama_config(config, blocks, dtype, bos, eos)
    template = configs.chat_template(task)
    files: dict[str, Any] = {
        "config.json": llama,
        "generation_config.json": configs.generation_config(task, bos, eos),
        "tokenizer_config.json": configs.tokenizer_config(config, template),
    }
    if task.sees:
        vision = source.require_vision()
        files["config.json"] = configs.llava_config(config, vision, llama, token_id(tokenizer, IMAGE_TOKEN), dtype)
        files["preprocessor_config.json"] = configs.preprocessor_config(vision)
        files["processor_config.json"] = configs.processor_config(config, vision)
    for name, content in files.items():
        _write_json(folder / name, content)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    shutil.copyfile(source.folder / "tokenizer.json", folder / "tokenizer.json")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

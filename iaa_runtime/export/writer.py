"""Writes one task of a checkpoint as a stock Llama or LLaVA: weights, configs, tokenizer; all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import names
from ..checkpoint.checkpoint import MERGED, Checkpoint
from ..checkpoint.writer import SHARD_BYTES, LazyTensor, new_folder, write_json, write_shards
from ..config import BankName, Task
from ..errors import CheckpointError
from ..model.banks import bank_shapes
from ..model.dtypes import dtype_name
from ..text.conversation import BEGIN_OF_TEXT, EOT, IMAGE_TOKEN
from ..text.tokenizer import load_tokenizer, token_id
from . import configs
from .chat_template import chat_template

FORMATS = {Task.MM: "llava", Task.G: "llava", Task.TEXT: "llama"}
"""The stock class that each task is."""


def export(
    source: Checkpoint,
    task: Task | str,
    out: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes one task of a checkpoint as a stock Llama or LLaVA, in the dtype it is stored in.

    Adaptors that were merged into it are noted in ``config.json``, where engines pass over what they do not know.

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
        CheckpointError: the checkpoint lacks what the task needs, or was converted to fewer bits.
    """
    task, out = Task.parse(task), Path(out)
    if source.precision is not None:
        raise CheckpointError(
            f"{source.folder} was converted to {source.precision}, in a form of ours that other engines do not read. "
            "Export from the checkpoint that it was made from."
        )
    with new_folder(out) as folder:
        tensors = _stock_tensors(source, task)
        # Norms are sometimes kept in float32 beside 16-bit weights; engines are told the smaller.
        dtype = min((tensor.dtype for tensor in tensors.values()), key=lambda dtype: dtype.itemsize)
        # These first: what is missing is seen before all weights are written.
        _write_configs(source, task, folder, dtype_name(dtype))
        write_shards(folder, tensors, shard_bytes, progress)
    return out


def _stock_tensors(source: Checkpoint, task: Task) -> dict[str, LazyTensor]:
    """The task's tensors as stored, under the hub's names."""
    projector = source.config.mm_projector_type
    if task.sees and projector not in ("linear", "mlp2x_gelu"):
        raise CheckpointError(
            f"The projector of {source.folder} is {projector!r}; a stock LLaVA has 'linear' or 'mlp2x_gelu'."
        )
    base, adaptors = names.block_positions(source.config, task)
    prefix = names.LLAVA if task.sees else names.LLAMA
    tensors = {
        names.stock_name(bank, name, base if bank == "base" else adaptors, prefix): _stored(source, bank, name)
        for bank in task.banks
        for name in _wanted(source, bank)
    }
    if task.sees and projector == "linear":
        size = source.config.hidden_size
        dtype = tensors[names.stock_name(task.stack_bank, f"{names.PROJECTOR}weight", [], prefix)].dtype
        for name, identity in (("weight", torch.eye(size)), ("bias", torch.zeros(size))):
            second = names.stock_name(task.stack_bank, f"{names.PROJECTOR}2.{name}", [], prefix)
            tensors[second] = LazyTensor.of(identity, dtype)
    return tensors


def _stored(source: Checkpoint, bank: BankName, name: str) -> LazyTensor:
    """A tensor as it is stored, but for 8-bit floats, which transformers does not open: those become bfloat16."""
    tensor = source.stored(bank, name)
    small = tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1
    return replace(tensor, dtype=torch.bfloat16) if small else tensor


def _wanted(source: Checkpoint, bank: BankName) -> list[str]:
    """Our names of a bank's tensors that engines want.

    Raises:
        CheckpointError: some are not there.
    """
    if bank == "vision":
        source.require_vision()
    shapes = bank_shapes(bank, source.config, source.vision)
    source.check(bank, shapes)
    if bank != "vision":
        return list(shapes)
    # Engines build the whole tower, also the layers behind the one whose output IAA takes.
    present = source.names(bank)
    last = names.tower_layer(source.require_vision().num_hidden_layers - 1)
    if not all(any(name.startswith(part) for name in present) for part in (last, names.TOWER_END)):
        raise CheckpointError(
            f"The vision tower of {source.folder} lacks its last layers, which IAA does not need but other engines do. "
            "Use a complete CLIP tower: pass its folder as vision_tower."
        )
    return present


def _write_configs(source: Checkpoint, task: Task, folder: Path, dtype: str) -> None:
    config, tokenizer = source.config, load_tokenizer(source.folder)
    bos, eos = token_id(tokenizer, BEGIN_OF_TEXT), token_id(tokenizer, EOT)
    blocks = config.num_blocks if task.sees else config.num_hidden_layers
    llama = configs.llama_config(config, blocks, dtype, bos, eos)
    template = chat_template(task)
    files: dict[str, dict[str, Any]] = {
        "config.json": llama,
        "generation_config.json": configs.generation_config(task, bos, eos),
        "tokenizer_config.json": configs.tokenizer_config(config, template),
    }
    if task.sees:
        vision = source.require_vision()
        files["config.json"] = configs.llava_config(config, vision, llama, token_id(tokenizer, IMAGE_TOKEN), dtype)
        files["preprocessor_config.json"] = configs.preprocessor_config(vision)
        files["processor_config.json"] = configs.processor_config(config, vision)
    if task.sees and (noted := source.merged_for(task)):
        files["config.json"][MERGED] = noted
    for name, content in files.items():
        write_json(folder / name, content)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    shutil.copyfile(source.folder / "tokenizer.json", folder / "tokenizer.json")

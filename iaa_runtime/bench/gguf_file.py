"""A task's language model as a GGUF, in the kinds of llama.cpp, with which it is timed. Not: an export (export/)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import Checkpoint
from ..config import BankName, IAAConfig, Task
from ..model.banks import bank_shapes

KINDS = ("Q4_0", "Q8_0")
"""Kinds of the blocks' matrices: 4 and 8 bits, a scale for each 32 weights of a row."""


def write_gguf(source: Checkpoint, task: Task, kind: str, file: Path) -> Path:
    """Writes a task's blocks, embedding, norm and head; ids go in and logits come out, since it has no vocabulary.

    Embedding and head have 8 bits whatever the kind; norms stay. Needs the package ``gguf``. No more than one matrix is
    held at a time.

    Args:
        source: the IAA checkpoint.
        task: whose stack.
        kind: one of ``KINDS``.
        file: the GGUF to write.

    Returns:
        ``file``.
    """
    import gguf
    import numpy as np

    base, adaptors = names.block_positions(source.config, task)
    positions = {"base": base, task.stack_bank: adaptors}
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, len(base + adaptors))
    kinds = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer, source.config, len(base + adaptors))
    stored = []
    for bank, name, shape in _tensors(source.config, task):
        wanted = kinds.F32 if len(shape) == 1 else kinds[kind] if name.startswith(names.BLOCKS) else kinds.Q8_0
        stock = names.stock_name(bank, name, positions[bank], names.LLAMA)
        title = theirs.get_name(stock, (".weight",))
        dtype = np.dtype(np.float32 if wanted == kinds.F32 else np.uint8)
        stored_shape = shape if wanted == kinds.F32 else gguf.quant_shape_to_byte_shape(shape, wanted)
        size = dtype.itemsize * torch.Size(stored_shape).numel()
        writer.add_tensor_info(title, stored_shape, dtype, size, raw_dtype=wanted)
        stored.append((bank, name, wanted))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for bank, name, wanted in stored:
        writer.write_tensor_data(gguf.quantize(_weight(source, bank, name).numpy(), wanted))
    writer.close()
    return file


def _tensors(config: IAAConfig, task: Task) -> Iterator[tuple[BankName, str, tuple[int, ...]]]:
    """Bank, our name and shape of all that a task's language model has."""
    for bank in ("base", task.stack_bank):
        for name, shape in bank_shapes(bank, config, None).items():
            if not name.startswith(names.PROJECTOR):
                yield bank, name, shape


def _describe(writer: Any, config: IAAConfig, blocks: int) -> None:
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)


def _weight(source: Checkpoint, bank: BankName, name: str) -> Tensor:
    """A tensor as llama.cpp wants it, float32."""
    weight = torch.cat(list(source.chunks(bank, name, "cpu"))).float()
    heads = {"q_proj": source.config.num_attention_heads, "k_proj": source.config.num_key_value_heads}
    for part, count in heads.items():
        if name.endswith(f"{part}.weight"):  # it rotates neighbours where Llama rotates the halves of a head
            return weight.view(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
    return weight

"""A task's language model as llama.cpp's ``llama``: settings, vocabulary, blocks in a row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoint import names
from ...checkpoint.checkpoint import Checkpoint
from ...config import BankName, Task
from ...config.small_files import load_json
from ...model.banks import bank_shapes
from ...text.conversation import BEGIN_OF_TEXT, EOT
from ...text.tokenizer import load_tokenizer, token_id
from ...text.tokenizer_file import LARGEST
from ..chat_template import chat_template
from .file import GgufTensor, import_gguf, matrix_type


def tensors(source: Checkpoint, task: Task, kind: str) -> Iterator[GgufTensor]:
    """The tensors of a task's blocks, embedding, norm and head.

    In q4_0, embedding and head have 8 bits, as llama.cpp's own converter does it.
    """
    base, adaptors = names.block_positions(source.config, task)
    positions = {"base": base, task.stack_bank: adaptors}
    gguf = import_gguf()
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, len(base + adaptors))
    banks: tuple[BankName, BankName] = ("base", task.stack_bank)
    for bank in banks:
        for name, shape in bank_shapes(bank, source.config, None).items():
            if name.startswith(names.PROJECTOR):
                continue
            wanted = kind if name.startswith(names.BLOCKS) or kind != "q4_0" else "q8_0"
            title = theirs.get_name(names.stock_name(bank, name, positions[bank], names.LLAMA), (".weight",))
            yield GgufTensor(title, shape, matrix_type(shape, wanted), partial(_weight, source, bank, name))


def describe(writer: Any, source: Checkpoint, task: Task, kind: str) -> None:
    """Adds the settings of a task's language model; not its vocabulary."""
    config = source.config
    writer.add_file_type(file_type(kind))
    writer.add_quantization_version(import_gguf().GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_blocks if task.sees else config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)


def file_type(kind: str) -> int:
    """llama.cpp's number of a file whose matrices are mostly of this type."""
    types = import_gguf().LlamaFileType
    return int(types.ALL_F32 if kind == "f32" else types[f"MOSTLY_{kind.upper()}"])


def add_vocabulary(writer: Any, folder: Path, task: Task, size: int) -> None:
    """Adds the tokenizer and the chat template.

    The template writes the begin token, so llama.cpp is told not to. A server that shows pictures puts a text part in
    a picture's place, so the parts of a message are joined by the line end that IAA has behind a picture.

    Args:
        writer: a ``gguf.GGUFWriter``.
        folder: of the checkpoint.
        task: whose template.
        size: rows of the embedding; ids that the tokenizer lacks are named and marked unused.
    """
    gguf, tokenizer = import_gguf(), load_tokenizer(folder)
    content: Any = load_json(folder / "tokenizer.json", LARGEST)
    kinds, tokens = gguf.TokenType, [f"[unused {number}]" for number in range(size)]
    types = [kinds.UNUSED] * size
    for token, number in content["model"]["vocab"].items():
        if number < size:  # one without an embedding is never said
            tokens[number], types[number] = token, kinds.NORMAL
    for added in content["added_tokens"]:
        if added["id"] < size:  # one without an embedding is never said
            kind = kinds.CONTROL if added["special"] else kinds.USER_DEFINED
            tokens[added["id"]], types[added["id"]] = added["content"], kind
    merges = content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")  # byte-level BPE,
    writer.add_tokenizer_pre("llama-bpe")  # its text cut as Llama 3 cuts it
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    end = token_id(tokenizer, EOT)
    writer.add_bos_token_id(token_id(tokenizer, BEGIN_OF_TEXT))
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template(task, pictures_are_text=True))


def stored(source: Checkpoint, bank: BankName, name: str) -> Tensor:
    """A tensor as it is in the checkpoint, float32."""
    return torch.cat(list(source.chunks(bank, name, "cpu"))).float()


def _weight(source: Checkpoint, bank: BankName, name: str) -> Tensor:
    """A tensor as llama.cpp wants it, float32."""
    weight = stored(source, bank, name)
    heads = {"q_proj": source.config.num_attention_heads, "k_proj": source.config.num_key_value_heads}
    for part, count in heads.items():
        if name.endswith(f"{part}.weight"):  # it rotates neighbours where Llama rotates the halves of a head
            return weight.view(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
    return weight

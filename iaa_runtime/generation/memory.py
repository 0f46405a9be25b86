"""How much memory a call takes beyond the weights: formulas, so that a host can free that much first.

Symbols: B rows, P prompt tokens, A new tokens, T tokens of one prefill chunk, H hidden size, I intermediate size, V
vocabulary, W and M width and MLP width of the vision tower, N its patches, L blocks, G key-value heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import GenerationConfig, IAAConfig, Task, VisionConfig
from ..model.banks import bank_bytes
from ..model.kv_cache import KVCache
from ..model.linear.kinds import PLAIN, QUANTIZED, Kinds
from .prefill import CHUNK_TOKENS


def generation_bytes(
    config: IAAConfig, task: Task, rows: int, prompt_tokens: int, new_tokens: int, dtype: torch.dtype
) -> int:
    """Bytes of an answer's KV cache and activations, weights not counted.

    With e bytes an element: the cache ``2 L B (P + A) G D e``, twice because handing a shared prefix to many rows
    copies it; the block in flight ``T (4 H + 3 I) e`` and its attention mask ``T (P + A)``, with the T tokens of all
    rows that are prefilled at once; the logits ``5 B V`` float32, for the raw ones, penalty, grammar and a sorted
    copy; the embedded prompt ``B P H e``.

    Args:
        config: the checkpoint's geometry.
        task: decides the number of blocks.
        rows: B.
        prompt_tokens: P, of the longest row, image patches counted.
        new_tokens: A.
        dtype: of the activations.
    """
    columns = prompt_tokens + new_tokens
    at_once = min(rows * prompt_tokens, CHUNK_TOKENS)
    blocks = config.num_blocks if task.sees else config.num_hidden_layers
    per_token = KVCache.bytes_per_token(blocks, config.num_key_value_heads, config.head_dim, dtype)
    cache = 2 * rows * columns * per_token
    block = at_once * (4 * config.hidden_size + 3 * config.intermediate_size) * dtype.itemsize
    mask = at_once * columns
    logits = 5 * rows * config.vocab_size * 4
    embedded = rows * prompt_tokens * config.hidden_size * dtype.itemsize
    return cache + block + mask + logits + embedded


def vision_bytes(vision: VisionConfig, images: int, dtype: torch.dtype) -> int:
    """Bytes of the vision tower's activations: ``B (N + 1) (6 W + 2 M) e`` and the images, ``3 B size² e``."""
    tokens = images * (vision.num_patches + 1)
    block = tokens * (6 * vision.hidden_size + 2 * vision.intermediate_size)
    return (block + images * 3 * vision.image_size**2) * dtype.itemsize


@dataclass(frozen=True)
class Format:
    """In what a task's weights are kept: the dtype, and the kinds of linear layer that quantize further."""

    dtype: torch.dtype
    kinds: Kinds = PLAIN


FORMATS = {
    "fp32": Format(torch.float32),
    "bf16": Format(torch.bfloat16),
    "fp16": Format(torch.float16),
    "fp8": Format(torch.bfloat16, QUANTIZED["fp8"]),
    "int8": Format(torch.bfloat16, QUANTIZED["int8"]),
    "int4": Format(torch.bfloat16, QUANTIZED["int4"]),
}
"""Everything that ``--dtype`` and ``--precision`` give, the most exact first."""

CARDS = (8, 12, 16, 24, 48)
"""Sizes in which graphics cards are sold. Theirs are of 2^30 bytes; we count 10^9 and so leave 7% to the driver."""

QUESTION_TOKENS = 64
"""Words around the image in :func:`task_bytes`'s idea of a prompt."""


def weight_bytes(config: IAAConfig, vision: VisionConfig | None, task: Task, form: Format) -> int:
    """Bytes of the banks that a task needs; without the tower's where the checkpoint has none."""
    return sum(
        sum(bank_bytes(bank, config, vision, form.dtype, form.kinds).values())
        for bank in task.banks
        if bank != "vision" or vision is not None
    )


def working_bytes(config: IAAConfig, vision: VisionConfig | None, task: Task, form: Format) -> int:
    """Bytes beside the weights for one answer of default length about one image."""
    patches = vision.num_patches if vision is not None and task.sees else 0
    new_tokens = GenerationConfig.for_task(task).max_new_tokens
    answer = generation_bytes(config, task, 1, patches + QUESTION_TOKENS, new_tokens, form.dtype)
    seeing = vision_bytes(vision, 1, form.dtype) if patches and vision is not None else 0
    return max(answer, seeing) + form.kinds.working_bytes(form.dtype)


def task_bytes(config: IAAConfig, vision: VisionConfig | None, task: Task, form: Format) -> int:
    """Bytes that a device must have for one answer of default length: weights and work."""
    return weight_bytes(config, vision, task, form) + working_bytes(config, vision, task, form)

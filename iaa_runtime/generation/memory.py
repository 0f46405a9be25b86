"""How much memory a call takes beyond the weights: formulas, so that a host can free that much first.

Symbols: B rows, P prompt tokens, A new tokens, T tokens of one prefill chunk, H hidden size, I intermediate size, V
vocabulary, W and M width and MLP width of the vision tower, N its patches, L blocks, G key-value heads, D head size, Q
width of all heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..config import GenerationConfig, IAAConfig, Task, VisionConfig
from ..model.banks import bank_bytes
from ..model.kv_cache import KVCache
from ..model.linear.kinds import PLAIN, QUANTIZED, Kinds
from .prefill import CHUNK_TOKENS


def generation_bytes(
    config: IAAConfig, task: Task, rows: int, prompt_tokens: int, new_tokens: int, dtype: torch.dtype, beams: int = 1
) -> int:
    """Bytes of an answer's KV cache and activations, weights not counted.

    With e bytes an element: the cache ``2 L B (P + A) G D e`` of each beam, and one block's keys once more, since rows
    are handed on block by block; the prompts' images (none of Text), then with their words, then as one batch,
    ``3 B P H e`` (2 of Text); and the larger of two:

    - a block in flight with the T tokens of all rows that are prefilled at once: in its MLP ``T (4 H + 2 I) e``, in
      its attention ``T (3 H + 5 Q) e``, where keys and values are repeated for each of Q / D heads, and what the kernel
      makes of a mask for the Q / (G D) heads that share keys, ``T P (3 + Q (1 + e) / (G D))``;
    - logits of each beam, ``52 B V``: those behind a draft's tokens, old and new ones, or sorted ones.

    Args:
        config: the checkpoint's geometry.
        task: decides the number of blocks.
        rows: B.
        prompt_tokens: P, of the longest row, image patches counted.
        new_tokens: A.
        dtype: of the activations.
        beams: of a row.
    """
    columns, hidden, width = (
        prompt_tokens + new_tokens,
        config.hidden_size,
        config.num_attention_heads * config.head_dim,
    )
    at_once = min(rows * prompt_tokens, CHUNK_TOKENS)
    blocks = config.num_blocks if task.sees else config.num_hidden_layers
    per_token = KVCache.bytes_per_token(blocks, config.num_key_value_heads, config.head_dim, dtype)
    cache = rows * beams * columns * (per_token + per_token // (2 * blocks))
    embedded = (3 if task.sees else 2) * rows * prompt_tokens * hidden * dtype.itemsize
    mlp = (4 * hidden + 2 * config.intermediate_size) * dtype.itemsize
    shared = config.num_attention_heads // config.num_key_value_heads
    attention = (3 * hidden + 5 * width) * dtype.itemsize + prompt_tokens * (3 + shared * (1 + dtype.itemsize))
    logits = 52 * rows * beams * config.vocab_size
    return cache + embedded + max(at_once * max(mlp, attention), logits)


def vision_bytes(vision: VisionConfig, images: int, dtype: torch.dtype) -> int:
    """Bytes of the vision tower's activations: ``B (N + 1) (4 W + 3 M) e`` and the images, ``3 B size² e``."""
    tokens = images * (vision.num_patches + 1)
    block = tokens * (4 * vision.hidden_size + 3 * vision.intermediate_size)
    return (block + images * 3 * vision.image_size**2) * dtype.itemsize


def projection_bytes(config: IAAConfig, patches: int, dtype: torch.dtype) -> int:
    """Bytes of projecting ``patches`` of all images together: ``patches (W + 3 H) e``."""
    return patches * (config.mm_hidden_size + 3 * config.hidden_size) * dtype.itemsize


@dataclass(frozen=True)
class Format:
    """In what a task's weights are kept.

    Attributes:
        dtype: of what is not quantized.
        kinds: of linear layer, which may quantize further.
        embedding_dtype: of the token embedding; ``dtype`` when None.
    """

    dtype: torch.dtype
    kinds: Kinds = PLAIN
    embedding_dtype: torch.dtype | None = None


FORMATS = {
    "fp32": Format(torch.float32),
    "bf16": Format(torch.bfloat16),
    "fp16": Format(torch.float16),
    "int8": Format(torch.bfloat16, QUANTIZED["int8"]),
    "fp8": Format(torch.bfloat16, QUANTIZED["fp8"]),
    "int4": Format(torch.bfloat16, QUANTIZED["int4"]),
}
"""Everything that ``--dtype`` and ``--precision`` give, the most exact first."""

CARDS = (8, 12, 16, 24, 48)
"""Sizes in which graphics cards are sold. Theirs are of 2^30 bytes; we count 10^9 and so leave 7% to the driver."""

QUESTION_TOKENS = 64
"""Words around the image in :func:`task_bytes`'s idea of a prompt."""


def weight_bytes(config: IAAConfig, vision: VisionConfig | None, tasks: Task | Iterable[Task], form: Format) -> int:
    """Bytes of the banks that a task needs, or several in turn; without the tower's where the checkpoint has none."""
    tasks = (tasks,) if isinstance(tasks, Task) else tasks
    banks = {bank for task in tasks for bank in task.banks if bank != "vision" or vision is not None}
    return sum(
        sum(bank_bytes(bank, config, vision, form.dtype, form.kinds, form.embedding_dtype).values()) for bank in banks
    )


def working_bytes(config: IAAConfig, vision: VisionConfig | None, task: Task, form: Format) -> int:
    """Bytes beside the weights for one answer of default length about one image."""
    patches = vision.num_patches if vision is not None and task.sees else 0
    new_tokens = GenerationConfig.for_task(task).max_new_tokens
    answer = generation_bytes(config, task, 1, patches + QUESTION_TOKENS, new_tokens, form.dtype)
    seeing = vision_bytes(vision, 1, form.dtype) if patches and vision is not None else 0
    return max(answer, seeing) + form.kinds.working_bytes(form.dtype)


def task_bytes(config: IAAConfig, vision: VisionConfig | None, tasks: Task | Sequence[Task], form: Format) -> int:
    """Bytes that a device must have for one answer of default length: weights and work.

    Of several tasks, which answer in turn: each bank once, and the most work.
    """
    tasks = (tasks,) if isinstance(tasks, Task) else tasks
    work = max(working_bytes(config, vision, task, form) for task in tasks)
    return weight_bytes(config, vision, tasks, form) + work

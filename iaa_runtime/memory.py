"""How much memory a call takes beyond the weights: formulas, so that a host can make room before it is needed.

Symbols: B rows, P prompt tokens, A new tokens, T tokens of one prefill piece, H hidden size, I intermediate size, V
vocabulary, W and M width and MLP width of the vision tower, N its patches, L blocks, G key-value heads, D head size.
"""

from __future__ import annotations

import torch

from .config import IAAConfig, Task, VisionConfig
from .model.cache import KVCache
from .prefill import PIECE_TOKENS


def generation_bytes(
    config: IAAConfig, task: Task, rows: int, prompt_tokens: int, new_tokens: int, dtype: torch.dtype
) -> int:
    """Bytes of an answer's KV cache and activations, weights not counted.

    With e bytes an element: the cache ``2 L B (P + A) G D e``, twice because handing a shared front to many rows copies
    it; the block in flight ``B T (4 H + 3 I) e`` and its attention mask ``B T (P + A)``; the logits ``5 B V`` float32,
    for the raw ones, penalty, grammar and a sorted copy; the embedded prompt ``B P H e``.

    Args:
        config: the checkpoint's geometry.
        task: decides the number of blocks.
        rows: B.
        prompt_tokens: P, of the longest row, image patches counted.
        new_tokens: A.
        dtype: of the activations.
    """
    columns = prompt_tokens + new_tokens
    piece = min(prompt_tokens, PIECE_TOKENS)
    blocks = config.num_blocks if task.sees else config.num_hidden_layers
    per_token = KVCache.bytes_per_token(blocks, config.num_key_value_heads, config.head_dim, dtype)
    cache = 2 * rows * columns * per_token
    block = rows * piece * (4 * config.hidden_size + 3 * config.intermediate_size) * dtype.itemsize
    mask = rows * piece * columns
    logits = 5 * rows * config.vocab_size * 4
    embedded = rows * prompt_tokens * config.hidden_size * dtype.itemsize
    return cache + block + mask + logits + embedded


def vision_bytes(vision: VisionConfig, images: int, dtype: torch.dtype) -> int:
    """Bytes of the vision tower's activations: ``B (N + 1) (6 W + 2 M) e`` and the images, ``3 B size² e``."""
    tokens = images * (vision.num_patches + 1)
    block = tokens * (6 * vision.hidden_size + 2 * vision.intermediate_size)
    return (block + images * 3 * vision.image_size**2) * dtype.itemsize

"""Runs many questions about one picture in one training batch, with the picture and the system prompt run only once.

A batch is a tree of three levels: the system prompt (one row), the picture (B rows), the questions with their answers
(the leaves, K a picture). Each level attends to its own past and to all of the levels above, exactly as the flat
sequence would. Leaves come in groups of similar length, so that a short question is not padded to the longest caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..model.attention import kernels_of_any_length
from ..model.kv_cache import KVCache
from ..model.layers import Block, Rotation
from ..model.stack import Stack


class Level:
    """The KV cache of a level's blocks: keys and values of the levels above, then their own."""

    def __init__(self, above: Level | None, parents: Tensor | None) -> None:
        self._above, self._parents = above, parents
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}

    def keys(self, slot: int) -> Tensor:
        """Keys of block ``slot``, (rows, groups, columns above + own, head size)."""
        return self._seen[slot][0]

    def append(self, slot: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of block ``slot``, each (rows, groups, columns above + own, head size)."""
        if torch.is_autocast_enabled(k.device.type):
            k, v = k.bfloat16(), v.bfloat16()
        if self._above is not None and self._parents is not None:
            old = self._above._seen[slot]
            k, v = (
                torch.cat((past.index_select(0, self._parents), new), 2) for past, new in zip(old, (k, v), strict=True)
            )
        self._seen[slot] = (k, v)
        return k, v


def _mask(above: int, own: int, device: torch.device) -> Tensor:
    """(1, 1, own, above + own): everything above is seen, and the level itself causally."""
    beside = torch.ones(own, own, dtype=torch.bool, device=device).tril()
    return torch.cat((torch.ones(own, above, dtype=torch.bool, device=device), beside), 1)[None, None]


@dataclass(frozen=True)
class Leaves:
    """Leaves of about one length: ``embedded`` (rows, tokens, H), and each one's row in the level above."""

    embedded: Tensor
    parents: Tensor


def _run_level(stack: Stack, embedded: Tensor, start: int, level: Level, checkpointed: bool) -> Tensor:
    own = embedded.shape[1]
    positions = torch.arange(start, start + own, device=embedded.device)[None]
    rotation = Rotation.at(positions, stack.config.head_dim, stack.config.rope_theta, embedded.dtype)
    mask, x = _mask(start, own, embedded.device), embedded
    for slot, block in enumerate(stack.blocks):
        if checkpointed:
            x = checkpoint(_same_again, block, x, rotation, mask, level, slot, use_reentrant=False)
        else:
            x = block(x, rotation, mask, cast(KVCache, level), slot)
    return x


def _same_again(block: Block, x: Tensor, rotation: Rotation, mask: Tensor, level: Level, slot: int) -> Tensor:
    """A block, by the same kernels in the forward pass and when it is computed again in the backward pass."""
    with kernels_of_any_length(x.device), cpu_attention(x.device):
        return cast(Tensor, block(x, rotation, mask, cast(KVCache, level), slot))


def run_tree(
    stack: Stack, trunk: Sequence[Tensor], groups: Sequence[Leaves], *, checkpointed: bool = False
) -> list[Tensor]:
    """Runs a stack over a tree of embedded tokens.

    Args:
        stack: The stack whose blocks run.
        trunk: Embedded tokens from the root down: (1, tokens, H), then (B, tokens, H) where there are pictures.
        groups: The leaves, padded on the right.
        checkpointed: Keep a block's input alone for the backward pass, which then computes the block once more (Chen
            et al., arXiv 1604.06174).

    Returns:
        Per group of leaves, their activations before the final norm.
    """
    above: Level | None = None
    start = 0
    for embedded in trunk:
        parents = torch.zeros(len(embedded), dtype=torch.long, device=embedded.device)
        level = Level(above, parents)
        _run_level(stack, embedded, start, level, checkpointed)
        above, start = level, start + embedded.shape[1]
    levels = [Level(above, leaves.parents) for leaves in groups]
    return [
        _run_level(stack, leaves.embedded, start, level, checkpointed)
        for leaves, level in zip(groups, levels, strict=True)
    ]


def _plain_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, enable_gqa: bool = False
) -> Tensor:
    """Grouped-query attention, q (B, heads, T, D), k and v (B, groups, S, D); the groups' keys are not copied."""
    dtype = torch.bfloat16 if torch.is_autocast_enabled(q.device.type) else q.dtype
    with torch.autocast(q.device.type, enabled=False):
        groups, (_, heads, own, _) = k.shape[1], q.shape
        q, k, v = (q * q.shape[-1] ** -0.5).to(dtype), k.to(dtype), v.to(dtype)
        scores = (q.reshape(len(q), groups, -1, q.shape[-1]) @ k.transpose(-1, -2)).view(len(q), heads, own, -1)
        if attn_mask is None and is_causal:
            attn_mask = _mask(0, own, q.device)
        if attn_mask is not None:
            scores = scores + torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, -1e4)
        mixed = scores.softmax(-1).view(len(q), groups, -1, scores.shape[-1]) @ v
        return mixed.view(len(q), heads, own, -1)


@contextmanager
def cpu_attention(device: torch.device) -> Iterator[None]:
    """On a CPU, swaps PyTorch's fused attention for three matrix products while training.

    The fused kernel's backward pass took half of a training step at these sizes (heads of 32, some hundred tokens).
    """
    fused = F.scaled_dot_product_attention
    if device.type == "cpu":
        F.scaled_dot_product_attention = _plain_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused

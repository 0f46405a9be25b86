"""A workflow as a flat stack: embedding, ordered blocks, norm, head. One forward serves all three tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import IAAConfig
from .attention import kernels_of_any_length
from .kv_cache import KVCache, Positions
from .layers import Block, Cache, Rotation


@dataclass(frozen=True)
class Stack:
    """One task's Llama. Blocks are shared by reference: MM, G and Text run the same base layers.

    Symbols: B rows, T new tokens, H hidden size, V vocabulary.

    Attributes:
        adapted_by: what its blocks are adapted by; a step that was captured for a stack serves those of the same head
            whose blocks are adapted by the same.
    """

    config: IAAConfig
    embed_tokens: nn.Module
    blocks: Sequence[Block]
    norm: nn.Module
    lm_head: nn.Module
    dtype: torch.dtype
    device: torch.device
    adapted_by: tuple[object, ...] = ()

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) -> (B, T, H)."""
        embedded: Tensor = self.embed_tokens(ids.to(self.device))
        return embedded.to(self.dtype)

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """An empty cache with a slot for each block."""
        c = self.config
        return KVCache(len(self.blocks), rows, capacity, c.num_key_value_heads, c.head_dim, self.dtype, self.device)

    def hidden(self, embedded: Tensor, cache: Cache | None = None, real: Tensor | None = None) -> Tensor:
        """Runs the blocks.

        Args:
            embedded: (B, T, H).
            cache: what came before; the new tokens are appended. None starts at position 0 and keeps nothing.
            real: (B, T) bool, False for padding (only with a cache).

        Returns:
            (B, T, H), before the final norm.
        """
        count = embedded.shape[1]
        if cache is not None:
            positions = cache.extend(count, real)
        else:
            positions = Positions(torch.arange(count, device=embedded.device)[None], None)
        rotation = Rotation.at(positions.indices, self.config.head_dim, self.config.rope_theta, embedded.dtype)
        x = embedded
        with kernels_of_any_length(self.device):
            for slot, block in enumerate(self.blocks):
                x = block(x, rotation, positions.mask, cache, slot)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) before the final norm -> (..., V), in float32 so that sampling and scores keep their precision."""
        logits: Tensor = self.lm_head(self.norm(hidden))
        return logits.float()


def interleave(base: Sequence[Block], adaptors: Sequence[Block], positions: Sequence[int]) -> list[Block]:
    """Puts adaptor ``i`` right behind base layer ``positions[i]`` (IAA, section 3; ``insert_layers`` there)."""
    behind = dict(zip(positions, adaptors, strict=True))
    blocks: list[Block] = []
    for number, block in enumerate(base):
        blocks.append(block)
        if number in behind:
            blocks.append(behind[number])
    return blocks

"""A KV cache as a decode step of unchanging shapes sees it, so that the step can be captured once and replayed.

Symbols: B rows, G key-value heads, C capacity in columns, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kv_cache import KVCache, Positions


class FixedCache:
    """One new token a row, in the next column of tensors that stay where they are; which column, only a tensor says.

    Every step looks at all C columns and masks those that hold nothing, and nothing is decided on the host: what the
    capture of a step recorded is right for all later steps, and for later answers. The mask is kept as what is added to
    scores, which is what kernels make of any other, block by block.

    Args:
        cache: an empty one, whose tensors are taken.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._column = cache.real.new_zeros((1,), dtype=cache.tokens.dtype)
        self._mask = cache.keys[0].new_empty((cache.rows, 1, 1, cache.capacity))
        self.clear()

    @property
    def rows(self) -> int:
        """B."""
        return self._cache.rows

    @property
    def capacity(self) -> int:
        """C."""
        return self._cache.capacity

    def clear(self) -> None:
        """Empties every column; a masked NaN would still be a NaN."""
        for tensor in (*self._cache.keys, *self._cache.values, self._cache.tokens, self._column):
            tensor.zero_()
        self._mask.fill_(-torch.inf)

    def fill(self, cache: KVCache) -> None:
        """Takes over what a plain cache of as many rows holds."""
        self.clear()
        filled = cache.columns
        for mine, theirs in ((self._cache.keys, cache.keys), (self._cache.values, cache.values)):
            for kept, tensor in zip(mine, theirs, strict=True):
                kept[:, :, :filled] = tensor[:, :, :filled]
        self._mask[:, 0, 0, :filled].masked_fill_(cache.real[:, :filled], 0)
        self._cache.tokens.copy_(cache.tokens)
        self._column.fill_(filled)

    def extend(self, count: int, real: Tensor | None = None) -> Positions:
        """Opens the next column. Returns positions (B, 1) and mask (B, 1, 1, C), in the dtype of the keys.

        Raises:
            ValueError: more than one token a row, or padding.
        """
        if count != 1 or real is not None:
            raise ValueError(f"A step is one token a row without padding; {count} were given.")
        self._mask.index_fill_(3, self._column, 0)
        positions = self._cache.tokens[:, None].clone()
        self._cache.tokens.add_(1)
        return Positions(positions, self._mask)

    def append(self, slot: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the new ``k`` and ``v`` (B, G, 1, D) of block ``slot``; returns all columns, (B, G, C, D) each."""
        keys, values = self._cache.keys[slot], self._cache.values[slot]
        keys.index_copy_(2, self._column, k)
        values.index_copy_(2, self._column, v)
        return keys, values

    def advance(self) -> None:
        """Ends a step."""
        self._column.add_(1)

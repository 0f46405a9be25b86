"""A KV cache as a decode step of unchanging shapes sees it, so that the step can be captured once and replayed.

Symbols: B rows, G key-value heads, C capacity in columns, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kv_cache import KVCache, Positions


class FixedCache:
    """One new token a row, in the next column of a :class:`.cache.KVCache`; which one that is, only a tensor says.

    Every step looks at all C columns and masks those that hold nothing, and nothing is decided on the host: what the
    capture of a step recorded is right for all later steps. It shares the tensors of ``cache``, which must not be
    used any more, but for :meth:`release`.

    Args:
        cache: holds what has been prefilled.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self.column = torch.full((1,), cache.columns, dtype=torch.long, device=cache.real.device)
        self._left = cache.capacity - cache.columns
        for tensors in (cache.keys, cache.values):
            for tensor in tensors:
                tensor[:, :, cache.columns :] = 0  # a masked NaN is still a NaN

    def extend(self, count: int, real: Tensor | None = None) -> Positions:
        """Opens the next column. Returns positions (B, 1) and mask (B, 1, 1, C).

        Raises:
            ValueError: more than one token a row, or padding.
        """
        if count != 1 or real is not None:
            raise ValueError(f"A step is one token a row without padding; {count} were given.")
        self._cache.real.index_fill_(1, self.column, True)
        positions = self._cache.tokens[:, None].clone()
        self._cache.tokens.add_(1)
        return Positions(positions, self._cache.real[:, None, None, :])

    def append(self, slot: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the new ``k`` and ``v`` (B, G, 1, D) of block ``slot``; returns all columns, (B, G, C, D) each."""
        keys, values = self._cache.keys[slot], self._cache.values[slot]
        keys.index_copy_(2, self.column, k)
        values.index_copy_(2, self.column, v)
        return keys, values

    def advance(self) -> None:
        """Ends a step, inside of what is captured."""
        self.column.add_(1)

    def stepped(self) -> None:
        """Counts a step on the host, outside of what is captured.

        Raises:
            ValueError: the cache is full.
        """
        if self._left == 0:
            raise ValueError(f"The KV cache holds {self._cache.capacity} columns, and all are full.")
        self._left -= 1

    def state(self) -> list[Tensor]:
        """What a step changes besides the new column: for undoing a trial."""
        return [self.column, self._cache.tokens, self._cache.real]

    def release(self) -> KVCache:
        """The plain cache, brought up to date."""
        self._cache.columns = self._cache.capacity - self._left
        return self._cache

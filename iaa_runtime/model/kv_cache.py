"""The KV cache: keys and values of all tokens that went through a stack, preallocated.

Symbols: B rows, T new tokens, S columns filled, C capacity in columns, G key-value heads, D head size.
A column is a slot for one token of each row. Rows of unequal length have columns of padding (left of a shorter row, or
between a shared prefix and a shorter continuation); ``real`` marks the others. Positions for RoPE count real tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positions:
    """Where new tokens stand: ``indices`` (B or 1, T); ``mask`` (B, 1, T, S), or None for plain causal.

    A mask is bool, True where a query may look, or of the keys' dtype and added to scores.
    """

    indices: Tensor
    mask: Tensor | None


class KVCache:
    """Keys and values per block of one stack, for B rows and up to C columns each.

    Example:
        >>> cache = KVCache(blocks=46, rows=1, capacity=700, kv_heads=8, head_dim=128, dtype=dtype, device=device)
        >>> positions = cache.extend(tokens)         # then each block calls cache.append(slot, k, v)
    """

    def __init__(
        self,
        blocks: int,
        rows: int,
        capacity: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (rows, kv_heads, capacity, head_dim)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(blocks)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(blocks)]
        self.real = torch.zeros((rows, capacity), dtype=torch.bool, device=device)
        self.tokens = torch.zeros((rows,), dtype=torch.long, device=device)
        self.columns = 0
        self.padded = False
        self._new = 0

    @property
    def rows(self) -> int:
        """B."""
        return self.real.shape[0]

    @property
    def capacity(self) -> int:
        """C."""
        return self.real.shape[1]

    @staticmethod
    def bytes_per_token(blocks: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
        """Bytes that one token of one row takes: keys and values, every block."""
        return 2 * blocks * kv_heads * head_dim * dtype.itemsize

    def parts(self, rows: int) -> Iterator[KVCache]:
        """Yields the cache in parts of at most ``rows`` rows, which share its memory.

        Each part must open the same columns before the next is asked for; at the end they are open here too.
        """
        for start in range(0, self.rows, rows):
            part, some = copy(self), slice(start, start + rows)
            part.keys, part.values = ([tensor[some] for tensor in tensors] for tensors in (self.keys, self.values))
            part.real, part.tokens = self.real[some], self.tokens[some]
            yield part
        self.columns, self.padded = part.columns, part.padded

    def extend(self, count: int, real: Tensor | None = None) -> Positions:
        """Opens ``count`` (T) new columns and says where their tokens stand and what they may look at.

        Args:
            count: new tokens per row.
            real: (B, T) bool, False for padding; None when there is none.

        Raises:
            ValueError: the cache is full.
        """
        start, end = self.columns, self.columns + count
        if end > self.capacity:
            raise ValueError(f"The KV cache holds {self.capacity} columns; {end} were asked for.")
        if real is None:
            steps = torch.arange(count, device=self.real.device)[None]
            positions = self.tokens[:, None] + steps
            self.real[:, start:end] = True
            self.tokens += count
        else:
            seen = real.long().cumsum(-1)
            positions = self.tokens[:, None] + (seen - 1).clamp_min(0)
            self.real[:, start:end] = real
            self.tokens += seen[:, -1]
            self.padded = True
        self.columns, self._new = end, count
        return Positions(positions, self._mask(start, end))

    def keep_new(self, counts: Sequence[int]) -> None:
        """Forgets all but the first ``counts[i]`` of the tokens of row i for which columns were opened last."""
        start, longest = self.columns - self._new, max(counts)
        kept = torch.tensor(counts, device=self.real.device)
        new = self.real[:, start : self.columns]
        self.tokens -= new.sum(-1) - kept
        new &= torch.arange(self._new, device=self.real.device) < kept[:, None]
        self.columns = start + longest
        self.padded = self.padded or min(counts) < longest

    def _mask(self, start: int, end: int) -> Tensor | None:
        if not self.padded and (start == 0 or end - start == 1):
            return None
        columns = torch.arange(end, device=self.real.device)
        queries = columns[start:, None]
        # A padding query must see something, or its softmax is 0/0; it sees itself, and nobody sees it.
        seen = (columns <= queries) & self.real[:, None, None, :end] | (columns == queries)
        return seen.expand(self.rows, 1, -1, -1)

    def append(self, slot: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the new ``k`` and ``v`` (B, G, T, D) of block ``slot``; returns all its columns, (B, G, S, D) each."""
        keys, values = self.keys[slot], self.values[slot]
        start, end = self.columns - self._new, self.columns
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        return keys[:, :, :end], values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keeps, repeats and reorders rows: row i becomes the old row ``rows[i]``.

        That is how a shared prefix is handed to many rows, beams reorder, and finished rows retire.
        """
        filled = self.columns
        for tensors in (self.keys, self.values):
            for slot, old in enumerate(tensors):
                new = old.new_empty((len(rows), *old.shape[1:]))
                new[:, :, :filled] = old[:, :, :filled].index_select(0, rows)
                tensors[slot] = new
        self.real = self.real.index_select(0, rows)
        self.tokens = self.tokens.index_select(0, rows)

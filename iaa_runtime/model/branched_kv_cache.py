"""A KV cache whose rows go on in several ways at once, which do not see one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .kv_cache import KVCache, Positions


class BranchedCache:
    """A filled cache behind which several continuations stand that do not see one another.

    Args:
        cache: the prompts', which grows by the columns of all of them.
        seen: how many of its columns belong to the prompts.
        lengths: tokens of each continuation.
    """

    def __init__(self, cache: KVCache, seen: int, lengths: Sequence[int]) -> None:
        self._cache, self._seen = cache, seen
        self.append = cache.append
        self._steps = torch.cat([torch.arange(length) for length in lengths]).to(cache.real.device)
        self._owners = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(cache.real.device)

    def extend(self, count: int, real: Tensor | None = None) -> Positions:
        """Opens the columns of all continuations; each token sees the prompt and what stands before it in its own."""
        cache, start = self._cache, self._cache.columns
        before = cache.real[:, : self._seen].sum(-1)
        cache.extend(count)
        own = (self._owners[:, None] == self._owners) & (self._steps[:, None] >= self._steps)
        mask = torch.zeros((cache.rows, 1, count, start + count), dtype=torch.bool, device=own.device)
        mask[..., : self._seen] = cache.real[:, None, None, : self._seen]
        mask[..., start:] = own
        return Positions(before[:, None] + self._steps, mask)

"""Attention that is told where to look: while a shape is spoken of, one head of an adaptor block watches that shape.

A wrong box says little about why it is wrong: the wrong shape was chosen, or the right one was misread. Choosing comes
late when answers alone teach it. But the generator knows which shape each token of an answer is about, and so which
patches are worth a look; their share of the head's attention is pushed up, and what the head then carries is learned
from the answers as before. (Supervised attention: Liu et al., "Neural Machine Translation with Supervised Attention",
arXiv 1609.04186.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from branching import Level
from torch import Tensor, nn
from tower import patch_owners

from iaa_runtime.model.layers import Attention, Rotation
from iaa_runtime.model.stack import Stack

WEIGHT = 0.5
"""Of this loss beside the answers' own."""


@dataclass(frozen=True)
class _Look:
    """One call of a watched attention: its module, input (rows, T, H), rotation, mask (1, 1, T, S), level and slot."""

    module: Attention
    x: Tensor
    rotation: Rotation
    mask: Tensor
    level: Level
    slot: int

    def scores(self) -> Tensor:
        """(rows, T, S) attention logits of the first head."""
        size = self.module.head_dim
        weight = cast(Tensor, self.module.q_proj.weight)[:size]
        query = self.rotation(nn.functional.linear(self.x, weight)[:, None]).squeeze(1)
        keys = self.level.keys(self.slot)[:, 0]
        scores = query.float() @ keys.float().transpose(-1, -2) * size**-0.5
        return scores.masked_fill(~self.mask[0], -torch.inf)


@dataclass
class Gaze:
    """Watches the attention of a stack's last two adaptor blocks.

    Attributes:
        stack: Adaptors stand at its odd places.
        first_patch: Column at which the picture begins.
    """

    stack: Stack
    first_patch: int
    _looks: list[_Look] = field(default_factory=list)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Notes what the watched blocks attend with, while the context lasts."""
        self._looks.clear()

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            self._looks.append(_Look(cast(Attention, module), *arguments))

        blocks = len(self.stack.blocks)
        handles = [self.stack.blocks[slot].self_attn.register_forward_hook(note) for slot in (blocks - 3, blocks - 1)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def loss(self, labels: Tensor, grid: int, parents: Sequence[Tensor], about: Sequence[Tensor]) -> Tensor:
        """Minus the log of the attention that falls on the shape in question, averaged over tokens.

        Args:
            labels: (B, 5, 6) of the pictures.
            grid: Patches a side, N = grid * grid.
            parents: Per group of leaves (rows,), which picture each hangs on.
            about: Per group (rows, T), the shape that the token to be said is about; -1 for none.
        """
        owners = patch_owners(labels, grid)  # (B, N), -1 on the ground
        leaves = self._looks[-2 * len(parents) :]
        losses = []
        for number, look in enumerate(leaves):
            pictures, shapes = parents[number // 2], about[number // 2]
            row, token = (shapes >= 0).nonzero(as_tuple=True)
            if not len(row):
                continue
            scores = look.scores()[row, token]
            patches = scores[:, self.first_patch : self.first_patch + grid * grid]
            wanted = owners[pictures[row]] == shapes[row, token][:, None]
            seen = patches.masked_fill(~wanted, -1e4).logsumexp(-1) - scores.logsumexp(-1)
            losses.append(-seen.clamp_min(-20.0))
        return torch.cat(losses).mean() if losses else labels.new_zeros(())

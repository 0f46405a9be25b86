"""Supervised attention: two heads of the last two adaptor blocks are taught to look at what an answer is about.

A wrong box does not tell why it is wrong: the wrong shape was chosen, or the right one badly located. Choosing is
learned late from answers alone. But the generator knows which shape each token of an answer is about, and so which
patches matter; the loss raises their share of the heads' attention, and what the heads then carry is learned from the
answers as before. (Liu et al., "Neural Machine Translation with Supervised Attention", arXiv 1609.04186.)
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

WEIGHT = 3.0
"""Of this loss, relative to the answers' own."""


@dataclass(frozen=True)
class _Call:
    """One call of a watched attention: its module, input (rows, T, H), rotation, mask (1, 1, T, S), level and slot."""

    module: Attention
    x: Tensor
    rotation: Rotation
    mask: Tensor
    level: Level
    slot: int

    def scores(self) -> Tensor:
        """(rows, T, WATCHED, S) attention logits of the first head of each group."""
        size, groups = self.module.head_dim, self.level.keys(self.slot).shape[1]
        heads = cast(Tensor, self.module.q_proj.weight).view(groups, -1, size, self.x.shape[-1])[:, 0]
        query = self.rotation(
            nn.functional.linear(self.x, heads.flatten(0, 1)).unflatten(-1, (groups, size)).transpose(1, 2)
        )
        scores = query.float() @ self.level.keys(self.slot).float().transpose(-1, -2) * size**-0.5
        return scores.masked_fill(~self.mask, -torch.inf).transpose(1, 2)


@dataclass
class Gaze:
    """Watches the attention of a stack's last two adaptor blocks.

    Attributes:
        stack: Its odd blocks are adaptors.
        first_patch: Column at which the picture begins.
    """

    stack: Stack
    first_patch: int
    _seen: list[_Call] = field(default_factory=list)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Records the calls of the watched attentions while the context lasts."""
        self._seen.clear()

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            self._seen.append(_Call(cast(Attention, module), *arguments))

        blocks = len(self.stack.blocks)
        handles = [self.stack.blocks[slot].self_attn.register_forward_hook(note) for slot in (blocks - 3, blocks - 1)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def loss(self, labels: Tensor, grid: int, parents: Sequence[Tensor], looks: Sequence[Tensor]) -> Tensor:
        """Kullback-Leibler divergence of attention from where it should be, averaged over heads and tokens.

        A head should divide its attention equally among its targets. "Nothing" is the first token, whose share so
        tells how many shapes there are.

        Args:
            labels: (B, 5, 6) of the pictures.
            grid: Patches a side, N = grid * grid.
            parents: Per group of leaves (rows,), which picture each hangs on.
            looks: Per group (rows, T, WATCHED, 6) bool, the targets: five shapes, and nothing.
        """
        owners = patch_owners(labels, grid)  # (B, N), -1 on the ground
        shapes = torch.arange(labels.shape[1], device=labels.device)
        leaves = self._seen[-2 * len(parents) :]
        losses = []
        for number, call in enumerate(leaves):
            pictures, wanted = parents[number // 2], looks[number // 2]
            row, token, head = wanted.any(-1).nonzero(as_tuple=True)
            if not len(row):
                continue
            scores, target = call.scores()[row, token, head], wanted[row, token, head].float()
            patches = scores[:, self.first_patch : self.first_patch + grid * grid]
            shown = owners[pictures[row]][:, None] == shapes[:, None]  # (M, 5, N)
            on_shapes = patches[:, None].masked_fill(~shown, -1e4).logsumexp(-1)
            shares = torch.cat((on_shapes, scores[:, :1]), 1) - scores.logsumexp(-1, keepdim=True)
            target = target / target.sum(-1, keepdim=True)
            losses.append((target * (target.clamp_min(1e-9).log() - shares.clamp_min(-20.0))).sum(-1))
        return torch.cat(losses).mean() if losses else labels.new_zeros(())

"""Supervised attention: two heads of the last two adaptor blocks are taught to look at what an answer is about.

A wrong box does not tell why it is wrong: the wrong shape was chosen, or the right one badly located. Choosing is
learned late from answers alone. But the generator knows which shape each token of an answer is about, and so which
patches matter; the loss raises their share of the heads' attention, and what the heads then carry is learned from the
answers as before. (Liu et al., "Neural Machine Translation with Supervised Attention", arXiv 1609.04186.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tower import patch_owners

from iaa_runtime.model.stack import Stack
from iaa_runtime.teaching.looking import Recorder

WEIGHT = 3.0
"""Of this loss, relative to the answers' own."""


@dataclass
class Gaze:
    """Watches the attention of a stack's last two adaptor blocks.

    Attributes:
        stack: Its odd blocks are adaptors.
        first_patch: Column at which the picture begins.
    """

    stack: Stack
    first_patch: int
    _recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        blocks = len(self.stack.blocks)
        self._recorder = Recorder(self.stack, (blocks - 3, blocks - 1))

    def watch(self) -> AbstractContextManager[None]:
        """Records the calls of the watched attentions while the context lasts."""
        return self._recorder.entered()

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
        shared = self.stack.config.num_attention_heads // self.stack.config.num_key_value_heads
        losses = []
        for calls, pictures, wanted in zip(self._recorder.leaves(len(parents)), parents, looks, strict=True):
            for call in calls.values():
                for head in range(wanted.shape[2]):  # the first head of each group is watched
                    row, token = wanted[:, :, head].any(-1).nonzero(as_tuple=True)
                    if not len(row):
                        continue
                    scores, target = call.scores(row, token, head * shared), wanted[row, token, head].float()
                    patches = scores[:, self.first_patch : self.first_patch + grid * grid]
                    shown = owners[pictures[row]][:, None] == shapes[:, None]  # (M, 5, N)
                    on_shapes = patches[:, None].masked_fill(~shown, -1e4).logsumexp(-1)
                    shares = torch.cat((on_shapes, scores[:, :1]), 1) - scores.logsumexp(-1, keepdim=True)
                    target = target / target.sum(-1, keepdim=True)
                    losses.append((target * (target.clamp_min(1e-9).log() - shares.clamp_min(-20.0))).sum(-1))
        return torch.cat(losses).mean() if losses else labels.new_zeros(())

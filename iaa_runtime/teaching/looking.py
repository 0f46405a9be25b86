"""Lessons in looking: heads that look at what they box are told where a new thing is.

A wrong box does not tell why it is wrong: the wrong thing was chosen, or the right one badly located. Choosing is
learned late from answers alone. But where a box is to be, its patches matter; the loss raises their share of some
heads' attention, and what the heads then carry is learned from the answers as before (Liu et al., "Neural Machine
Translation with Supervised Attention", arXiv 1609.04186). Which heads those are, the model tells: they look at the
things it knows while it says where these begin (``pointing``).

Symbols: M tokens that are watched, S columns that they may look at, D head size, N patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..boxes.geometry import Box
from ..model.layers import Attention, Rotation
from ..model.stack import Stack
from .branching import Level

Head = tuple[int, int]
"""A block's number in the stack, and a head of it."""
MOST_HEADS, LEAST_SHARE = 6, 0.3
"""At most so many heads are told, of those which look at a thing with at least this share of their attention."""
BEFORE = 2
"""Tokens before the first coordinate, at which a thing is looked at, too: ``[`` and ``0.``."""


@dataclass(frozen=True)
class Call:
    """One call of an attention: its module, input (rows, T, H), rotation, mask (1, 1, T, S), level and slot."""

    module: Attention
    x: Tensor
    rotation: Rotation
    mask: Tensor
    level: Level
    slot: int

    def scores(self, rows: Tensor, tokens: Tensor, head: int) -> Tensor:
        """Attention logits (M, S) of a head for tokens (M,) of rows (M,)."""
        size = self.module.head_dim
        queries = self.module.q_proj(self.x[rows, tokens]).unflatten(-1, (-1, size))
        keys = self.level.keys(self.slot)
        query = queries[:, head].float()
        cos, sin = (table[0, 0, tokens].float() for table in (self.rotation.cos, self.rotation.sin))
        query = query * cos + query.roll(size // 2, -1) * sin
        shared = queries.shape[1] // keys.shape[1]
        scores = torch.einsum("md,msd->ms", query, keys[rows, head // shared].float()) * size**-0.5
        masked: Tensor = scores.masked_fill(~self.mask[0, 0, tokens], -torch.inf)
        return masked


@dataclass
class Recorder:
    """Records the calls of some blocks' attention.

    Attributes:
        stack: whose blocks they are.
        slots: their numbers in the stack.
        calls: of the leaves' groups and slots, once :meth:`leaves` is asked.
    """

    stack: Stack
    slots: Sequence[int]
    calls: list[Call] = field(default_factory=list)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Records while it is entered."""
        self.calls.clear()

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            self.calls.append(Call(cast(Attention, module), *arguments))

        handles = [self.stack.blocks[slot].self_attn.register_forward_hook(note) for slot in self.slots]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def leaves(self, groups: int) -> list[dict[int, Call]]:
        """Per group of leaves, which ran last, the calls by slot."""
        last = self.calls[-groups * len(self.slots) :]
        return [
            {call.slot: call for call in last[start : start + len(self.slots)]}
            for start in range(0, len(last), len(self.slots))
        ]


@dataclass(frozen=True)
class Looks:
    """Where answers are about to name a box: in each group of leaves, rows (M,), tokens (M,), boxes (M, 4).

    ``absent`` (M,) says that there is none: the box means nothing.
    """

    rows: Tensor
    tokens: Tensor
    boxes: Tensor
    absent: Tensor


def box_starts(answer: Sequence[int], values: Mapping[int, int]) -> list[tuple[int, Box]]:
    """Of an answer's ids: where the first coordinate of each box stands, and the box in fractions of the square.

    Args:
        answer: of G.
        values: by the ids of the tokens ``000`` to ``999``, what they are worth in thousandths.
    """
    places = [(at, values[token] / 1000) for at, token in enumerate(answer) if token in values]
    boxes = [places[start : start + 4] for start in range(0, len(places) - 3, 4)]
    return [(box[0][0], (box[0][1], box[1][1], box[2][1], box[3][1])) for box in boxes]


def inside(boxes: Tensor, patches: int) -> Tensor | None:
    """Which patches lie in boxes (M, 4): (M, N) bool, one at least each; None where patches are no square."""
    side = round(patches**0.5)
    if side * side != patches:
        return None
    centers = (torch.arange(side, device=boxes.device) + 0.5) / side
    x, y = centers.repeat(side), centers.repeat_interleave(side)
    x1, y1, x2, y2 = (edge[:, None] for edge in boxes.unbind(-1))
    shown: Tensor = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
    nearest = ((x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2).argmin(-1)
    shown[torch.arange(len(boxes), device=boxes.device), nearest] = True
    return shown


def shares(call: Call, head: int, looks: Looks, first: int, patches: int) -> Tensor:
    """Logarithms (M,) of the shares of a head's attention that lie in the boxes; of what is absent, off the picture.

    Args:
        call: of the head's block.
        head: its number.
        looks: at least one.
        first: column of the first patch.
        patches: N.
    """
    shown = inside(looks.boxes, patches)
    assert shown is not None
    scores = call.scores(looks.rows, looks.tokens, head)
    wanted = looks.absent[:, None].expand_as(scores).clone()
    wanted[:, first : first + patches] = shown & ~looks.absent[:, None]
    return scores.masked_fill(~wanted, -torch.inf).logsumexp(-1) - scores.logsumexp(-1)

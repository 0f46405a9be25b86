"""Blocks whose matrices get a low-rank update on top: ``y + s (x Aᵀ) Bᵀ`` (LoRA; Hu et al., arXiv 2106.09685, 2021).

A matrix itself stays as it is, of whatever kind and wherever a host keeps it. Adapted blocks are twins of the model's
own: they share every weight, and the model's own never learn of them, so that without an adaptor nothing is in the way
and tasks, or branches of a graph, with different ones share one model.

Symbols: M inputs, O outputs of a matrix, R the updates' ranks together, s strength * alpha / rank.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..checkpoint.names import BLOCKS
from ..model.layers import Block
from ..model.linear.base import products

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Update:
    """What is added to a matrix (O, M): ``scale * b @ a``.

    Attributes:
        a: (R, M). Under autograd it and ``b`` may require gradients; both in the dtype of the activations, unless
            autocast takes care of that.
        b: (O, R).
        scale: strength * alpha / rank.
    """

    a: Tensor
    b: Tensor
    scale: float = 1.0


Updates = Mapping[str, Update]
"""By our names of the matrices within a bank, such as ``layers.0.mlp.up_proj``."""


class LowRankLinear(nn.Module):
    """A linear layer of any kind, with an update added to its product."""

    def __init__(self, inner: nn.Module, update: Update) -> None:
        super().__init__()
        self.inner, self.update = inner, update

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., O), in the dtype of ``x``."""
        return self.updated(self.inner(x), x)

    def updated(self, product: Tensor, x: Tensor) -> Tensor:
        """Adds what the update makes of ``x`` (..., M) to the matrix's own product (..., O). Differentiable."""
        update = self.update
        inner = x.reshape(-1, x.shape[-1]) @ update.a.t()
        out = torch.addmm(product.reshape(-1, product.shape[-1]), inner, update.b.t(), alpha=update.scale)
        return out.view(product.shape)

    @staticmethod
    def products(layers: Sequence[LowRankLinear], x: Tensor) -> list[Tensor]:
        """What layers make of one input, which the matrices among them that are of one kind prepare once."""
        plain = products(x, *(layer.inner for layer in layers))
        return [layer.updated(product, x) for layer, product in zip(layers, plain, strict=True)]


def adapted_blocks(blocks: Sequence[Block], updates: Updates) -> list[Block]:
    """A bank's blocks with updates on top.

    Args:
        blocks: the adaptor blocks of a task, in the bank's order.
        updates: of some of their matrices.

    Returns:
        Twins of those blocks that an update is for, the others as they are.
    """
    parts: list[dict[str, Update]] = [{} for _ in blocks]
    for name, update in updates.items():
        number, matrix = name.removeprefix(BLOCKS).split(".", 1)
        parts[int(number)][matrix] = update
    return [_adapted(block, part) if part else block for block, part in zip(blocks, parts, strict=True)]


def _adapted(block: Block, updates: Mapping[str, Update]) -> Block:
    twin = _twin(block)
    for name in sorted({path.split(".")[0] for path in updates}):
        part = _twin(getattr(block, name))
        setattr(twin, name, part)
        for path, update in updates.items():
            if path.startswith(f"{name}."):
                matrix = path.split(".")[1]
                setattr(part, matrix, LowRankLinear(getattr(part, matrix), update))
    return twin


def _twin(module: Module) -> Module:
    """A module with the same weights, parts and hooks, whose parts can be exchanged."""
    twin = copy.copy(module)
    twin.__dict__["_modules"] = dict(module._modules)
    return twin


def joined(parts: Sequence[Updates]) -> dict[str, Update]:
    """Several sets of updates as one that adds them all: one product of a larger rank for each matrix."""
    found: dict[str, Update] = {}
    for name in sorted({name for part in parts for name in part}):
        several = [part[name] for part in parts if name in part]
        if len(several) == 1:
            found[name] = several[0]
            continue
        b = torch.cat([update.b.float() * update.scale for update in several], dim=1)
        found[name] = Update(torch.cat([update.a.float() for update in several]), b)
    return found


def placed(updates: Updates, device: torch.device, dtype: torch.dtype) -> dict[str, Update]:
    """Updates on a device, in a dtype. Those that are there already are not copied."""
    return {name: Update(u.a.to(device, dtype), u.b.to(device, dtype), u.scale) for name, u in updates.items()}

"""The low-rank updates that are learned, and the stack that they adapt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..adaptors.base import adapted_matrices
from ..adaptors.file import Pair
from ..adaptors.low_rank import Update
from ..config import IAAConfig, Task
from ..model.stack import Stack
from ..pipeline.model import IAAModel

KEPT = torch.float16
"""What updates are kept in: at the published size and rank 16, 37 MB."""


class LowRankUpdates(nn.Module):
    """A pair of factors for each matrix of a task's adaptor blocks: ``b @ a``, with ``a`` (R, M) and ``b`` (O, R).

    ``a`` starts with orthonormal rows and ``b`` at zero, so that nothing is changed at first; both learn in float32.

    Args:
        config: the checkpoint's geometry.
        task: G or MM.
        rank: R.
        alpha: updates are ``alpha / rank`` times the product.
        seed: of the start.
        device: where they are.
    """

    def __init__(self, config: IAAConfig, task: Task, rank: int, alpha: float, seed: int, device: torch.device) -> None:
        super().__init__()
        self.task, self.rank, self.alpha = task, rank, alpha
        random = torch.Generator().manual_seed(seed)
        self.a, self.b = nn.ParameterDict(), nn.ParameterDict()
        for name, (outputs, inputs) in adapted_matrices(config, task).items():
            start = torch.linalg.qr(torch.randn(max(inputs, rank), rank, generator=random)).Q.T[:, :inputs]
            self.a[_key(name)] = nn.Parameter(start.contiguous().to(device))
            self.b[_key(name)] = nn.Parameter(torch.zeros(outputs, rank, device=device))
        self.names = tuple(adapted_matrices(config, task))

    def stack(self, model: IAAModel) -> Stack:
        """The model's stack with these updates, through which gradients reach them."""
        dtype, scale = model.dtype, self.alpha / self.rank
        updates = {
            name: Update(self.a[_key(name)].to(dtype), self.b[_key(name)].to(dtype), scale) for name in self.names
        }
        return model.stack(self.task, updates)

    def pairs(self, state: Mapping[str, Tensor] | None = None) -> dict[str, Pair]:
        """The factors as a file keeps them: those at hand, or those of a ``state_dict``."""
        state = self.state_dict() if state is None else state
        return {
            name: Pair(*(state[f"{which}.{_key(name)}"].detach().to("cpu", KEPT) for which in ("a", "b")))
            for name in self.names
        }


def _key(name: str) -> str:
    """A matrix's name as a parameter's, which has no dots."""
    return name.replace(".", "/")

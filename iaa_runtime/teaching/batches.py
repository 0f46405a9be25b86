"""A batch of lessons: rows run as a tree, and what their answers cost.

Symbols: M tokens of all answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Task
from ..generation.prefill import common_ids
from ..model.attention import kernels_of_any_length
from ..model.linear.processor import fast_in_bf16
from ..model.stack import Stack
from .branching import Leaves, cpu_attention, run_tree
from .lessons import Lessons, Row

Project = Callable[[Tensor, Task], Tensor]
"""Tower features (B, N, W) -> what stands in the prompt (B, N, H)."""
GROUPS = 2
"""Leaves are sorted by length into so many groups, each padded to its longest."""


@contextmanager
def computing(stack: Stack) -> Iterator[None]:
    """Kernels that suit training; on a CPU that is faster so, products of float32 in bfloat16.

    A CPU without instructions of its own for bfloat16 emulates them: a step of the demo model took 2.4 times as long.
    """
    device = stack.device
    with ExitStack() as entered:
        entered.enter_context(kernels_of_any_length(device))
        entered.enter_context(cpu_attention(device))
        if device.type == "cpu" and stack.dtype == torch.float32 and fast_in_bf16():
            entered.enter_context(torch.autocast("cpu", torch.bfloat16))
        yield


@dataclass(frozen=True)
class Ran:
    """What running rows gave.

    Attributes:
        groups: the rows as they ran, in groups of leaves.
        shared: how many ids all prompts begin with.
        first_patch: the column of a picture's first patch; ``patches`` follow.
        patches: N of a picture.
        logits: (M, V) of all tokens of the answers, row by row.
    """

    groups: list[list[Row]]
    shared: int
    first_patch: int
    patches: int
    logits: Tensor

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the logits."""
        return [row for group in self.groups for row in group]

    def first(self, row: Row) -> int:
        """Column of a row's leaf at which its answer's first token is predicted: the position before it."""
        return len(row.prompt) - self.shared - 1


def run_rows(
    stack: Stack, lessons: Lessons, rows: Sequence[Row], project: Project, *, checkpointed: bool = False
) -> Ran:
    """Runs rows, those of one view sharing all that their prompts have in common.

    Args:
        stack: of the task; its blocks may be adapted.
        lessons: what the rows are of.
        rows: at least one.
        project: of the model.
        checkpointed: activations are computed again in the backward pass.
    """
    views = list(dict.fromkeys(row.view for row in rows))
    shared = common_ids([row.prompt for row in rows])
    ordered = sorted(rows, key=lambda row: len(row.prompt) + len(row.answer))
    size = -(-len(ordered) // GROUPS)
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    device = stack.device
    with computing(stack):
        head = stack.embed(torch.tensor([lessons.head]))
        pictures = project(lessons.features[views], lessons.task).to(stack.dtype)
        between = torch.tensor([rows[0].prompt[:shared]], dtype=torch.long)
        trunk = [head, torch.cat((pictures, stack.embed(between).expand(len(views), -1, -1)), 1)]
        leaves = []
        for group in groups:
            parents = torch.tensor([views.index(row.view) for row in group], device=device)
            ids = _padded([row.prompt[shared:] + row.answer[:-1] for row in group])
            leaves.append(Leaves(stack.embed(ids), parents))
        hidden = run_tree(stack, trunk, leaves, checkpointed=checkpointed)
        wanted = []
        for group, activations in zip(groups, hidden, strict=True):
            for row, own in zip(group, activations, strict=True):
                first = len(row.prompt) - shared - 1
                wanted.append(own[first : first + len(row.answer)])
        logits = stack.logits(torch.cat(wanted))
    return Ran(groups, shared, len(lessons.head), pictures.shape[1], logits)


def _padded(rows: Sequence[tuple[int, ...]]) -> Tensor:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids

"""Decode steps: the newest token of each row in, the logits of the next out.

A step of one row runs some thousand small kernels. Launched one by one they keep the processor busier than the GPU; so
on CUDA a step can be captured once as a graph and replayed (Gray, "Getting Started with CUDA Graphs", NVIDIA, 2019).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..model.fixed_kv_cache import FixedCache
from ..model.kv_cache import KVCache
from ..model.stack import Stack

TRIALS = 2
"""Steps run before a capture: what libraries set up at first use must not be recorded."""


class Steps(Protocol):
    """Runs a batch on, token by token."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Takes the newest token of each row (B,) and returns the logits of the next, (B, V) float32."""

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""


def decode_steps(stack: Stack, cache: KVCache) -> Steps:
    """The steps that suit a stack, from where ``cache`` stands."""
    return GraphSteps(stack, cache) if stack.cuda_graphs and stack.device.type == "cuda" else EagerSteps(stack, cache)


class EagerSteps:
    """Kernels launched one by one; sees only the columns that are filled."""

    def __init__(self, stack: Stack, cache: KVCache) -> None:
        self._stack, self._cache = stack, cache

    def __call__(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, V)."""
        return self._stack.logits(self._stack.hidden(self._stack.embed(tokens[:, None]), self._cache)[:, -1])

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""
        self._cache.select(rows)


class FixedSteps:
    """The same over all columns of the cache, in shapes that never change: what :class:`GraphSteps` captures."""

    def __init__(self, stack: Stack, cache: KVCache) -> None:
        self._stack, self._fixed = stack, FixedCache(cache)

    def __call__(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, V)."""
        self._fixed.stepped()
        return self._step(tokens)

    def _step(self, tokens: Tensor) -> Tensor:
        logits = self._stack.logits(self._stack.hidden(self._stack.embed(tokens[:, None]), self._fixed)[:, -1])
        self._fixed.advance()
        return logits

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""
        cache = self._fixed.release()
        cache.select(rows)
        self._fixed = FixedCache(cache)


class GraphSteps(FixedSteps):
    """Fixed steps, captured as a CUDA graph at the first one, and again when rows leave."""

    _graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, V)."""
        self._fixed.stepped()
        if self._graph is None:
            self._capture(tokens)
        assert self._graph is not None
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._logits.clone()

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""
        super().select(rows)
        self._graph = None

    def _capture(self, tokens: Tensor) -> None:
        self._tokens = tokens.clone()
        before = [tensor.clone() for tensor in self._fixed.state()]
        side = torch.cuda.Stream(self._stack.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._stack.device))
        with torch.cuda.stream(side):
            for _ in range(TRIALS):
                self._step(self._tokens)
                self._undo(before)
        torch.cuda.current_stream(self._stack.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = self._step(self._tokens)  # recorded, not run

    def _undo(self, before: list[Tensor]) -> None:
        for tensor, old in zip(self._fixed.state(), before, strict=True):
            tensor.copy_(old)

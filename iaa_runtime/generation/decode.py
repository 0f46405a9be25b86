"""Decode steps: the newest token of each row in, the logits of the next out.

A step of one row runs some thousand small kernels. Launched one by one they keep the processor busier than the GPU; so
on CUDA a step is captured as a graph and replayed (Gray, "Getting Started with CUDA Graphs", NVIDIA, 2019). A
capture costs some steps; it serves all of an answer and the answers after it, as long as no more rows or columns come.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from ..model.fixed_kv_cache import FixedCache
from ..model.kv_cache import KVCache
from ..model.stack import Stack

log = logging.getLogger(__name__)

TRIALS = 2
"""Steps run before a capture: what libraries set up at first use must not be recorded."""

COLUMNS = 256
"""A captured step has a multiple of so many columns, so that the next prompt may be somewhat longer."""


class Steps(Protocol):
    """Runs a batch on, token by token."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Takes the newest token of each row (B,) and returns the logits of the next, (B, V) float32."""

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""


MakeSteps = Callable[[Stack, KVCache], Steps]
"""Goes on with a stack from where a cache stands."""


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


class FixedStep:
    """A step over all columns of its own cache, in tensors of unchanging shape and place.

    Args:
        stack: runs.
        rows: B.
        capacity: C.

    Attributes:
        cache: what the step reads and extends.
        tokens: the newest of each row, (B,): what the step takes.
    """

    def __init__(self, stack: Stack, rows: int, capacity: int) -> None:
        self._stack, self.cache = stack, FixedCache(stack.new_cache(rows, capacity))
        self.tokens = torch.zeros(rows, dtype=torch.long, device=stack.device)

    @property
    def adapted_by(self) -> tuple[object, ...]:
        """What the stack's blocks are adapted by."""
        return self._stack.adapted_by

    def __call__(self) -> Tensor:
        """Runs the step on ``tokens``. Returns the logits of the next, (B, V), valid until it runs again."""
        logits = self._stack.logits(self._stack.hidden(self._stack.embed(self.tokens[:, None]), self.cache)[:, -1])
        self.cache.advance()
        return logits


class CapturedStep(FixedStep):
    """The same as a CUDA graph, captured when it is made, on the stack's own device."""

    def __init__(self, stack: Stack, rows: int, capacity: int) -> None:
        super().__init__(stack, rows, capacity)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(stack.device):
            # torch's own stream for captures is of the device that first captured anything.
            side, now = torch.cuda.Stream(stack.device), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
            side.wait_stream(now)
            with torch.cuda.stream(side):
                for _ in range(TRIALS):
                    super().__call__()
            # cuBLAS's workspaces must lie in the graph's own memory: any other is freed by whoever clears them, as
            # torch's compiler does when it captures graphs of its own.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                    self._logits = super().__call__()  # recorded, not run
            finally:
                torch._C._cuda_clearCublasWorkspaces()
                torch.cuda.set_stream(now)  # which torch leaves undone where a capture fails
            now.wait_stream(side)

    def __call__(self) -> Tensor:
        """See :class:`FixedStep`."""
        self._graph.replay()
        return self._logits


class FixedSteps:
    """A batch run on by a fixed step. Rows that leave are computed on, and not looked at."""

    def __init__(self, cache: KVCache, step: FixedStep) -> None:
        self._step, self._left = step, step.cache.capacity - cache.columns
        self._rows: Tensor | None = None  # where those that are left stand; None while all are
        step.cache.fill(cache)

    def __call__(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, V).

        Raises:
            ValueError: the step's cache is full.
        """
        if self._left == 0:
            raise ValueError(f"The KV cache holds {self._step.cache.capacity} columns, and all are full.")
        self._left -= 1
        if self._rows is None:
            self._step.tokens.copy_(tokens)
            return self._step().clone()
        self._step.tokens.index_copy_(0, self._rows, tokens)
        return self._step().index_select(0, self._rows)

    def select(self, rows: Tensor) -> None:
        """Keeps the rows at these positions."""
        self._rows = rows if self._rows is None else self._rows.index_select(0, rows)


class Graphs:
    """Makes steps that are captured, and keeps the newest capture of each stack with its cache.

    A step that cannot be captured, for want of memory or since some kernel of it does not allow it, is run plainly; so
    is one whose capture still serves another answer, of another thread or around this one.

    Args:
        kind: how a step runs.
    """

    def __init__(self, kind: type[FixedStep] = CapturedStep) -> None:
        self._kind = kind
        self._kept: dict[nn.Module, FixedStep] = {}  # by the stack's head: stacks themselves are made anew
        self._running: dict[nn.Module, weakref.ref[FixedSteps]] = {}  # the answer that each serves, while it is wanted
        self._lock = threading.RLock()

    def __call__(self, stack: Stack, cache: KVCache) -> Steps:
        """See ``MakeSteps``."""
        with self._lock:
            running = self._running.get(stack.lm_head)
            if running is not None and running() is not None:
                return EagerSteps(stack, cache)
            steps = self._fixed(stack, cache)
            if isinstance(steps, FixedSteps):
                self._running[stack.lm_head] = weakref.ref(steps)
            return steps

    def _fixed(self, stack: Stack, cache: KVCache) -> Steps:
        step = self._kept.get(stack.lm_head)
        if step is not None and step.adapted_by != stack.adapted_by:
            step = None
        if step is None or step.cache.rows != cache.rows or step.cache.capacity < cache.capacity:
            self._kept.pop(stack.lm_head, None)
            del step  # its memory is free for the new one
            try:
                step = self._kind(stack, cache.rows, -(-cache.capacity // COLUMNS) * COLUMNS)
            except RuntimeError as error:
                log.warning("A decode step could not be captured and is run plainly: %s", str(error))
                return EagerSteps(stack, cache)
            self._kept[stack.lm_head] = step
        return FixedSteps(cache, step)

    def clear(self) -> None:
        """Drops every capture: each remembers where its weights were."""
        with self._lock:
            self._kept.clear()
            self._running.clear()  # whose keys are heads: 1 GB each at the published size

"""What a grammar over tokens has to offer, so that decoding can hold answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Constraint(Protocol):
    """A grammar over tokens, for a batch of rows that move through states; its tables are on one device."""

    def on(self, device: torch.device) -> Constraint:
        """The grammar with its tables on a device; whoever asks for it owns them."""

    def start(self, limits: Sequence[int]) -> Tensor:
        """The state of each row before its first token, (B,) int64; ``limits`` are the tokens that each may take."""

    def allowed(self, states: Tensor, remaining: Tensor) -> Tensor:
        """(B, V) bool: tokens with which a row can still end within its ``remaining`` (B,) tokens, this one counted."""

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """The states (B,) after ``tokens`` (B,)."""


class Held(Protocol):
    """The rows of a batch under a grammar, as the token loop moves them."""

    def allowed(self, remaining: Tensor) -> Tensor:
        """(B, V) bool, as :meth:`Constraint.allowed`."""

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """Goes on by a token a row, given on the device (B,) and on the host."""

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """Keeps the rows at these positions, given on the device and on the host."""


@runtime_checkable
class Grammar(Protocol):
    """A grammar whose states stay on the host, where they are no numbers."""

    def hold(self, limits: Sequence[int], device: torch.device) -> Held:
        """Rows before their first tokens, of which each may take ``limits``."""


class InTensors:
    """Rows under a :class:`Constraint`, whose states are a tensor on its device; ``limits`` as it takes them."""

    def __init__(self, constraint: Constraint, limits: Sequence[int]) -> None:
        self._constraint, self._states = constraint, constraint.start(limits)

    def allowed(self, remaining: Tensor) -> Tensor:
        """See :class:`Held`."""
        return self._constraint.allowed(self._states, remaining)

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """See :class:`Held`."""
        self._states = self._constraint.advance(self._states, tokens)

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """See :class:`Held`."""
        self._states = self._states.index_select(0, rows)

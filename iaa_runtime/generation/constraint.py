"""What a grammar over tokens has to offer, so that decoding can hold answers to it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Constraint(Protocol):
    """A grammar over tokens, for a batch of rows that move through states."""

    def start(self, limits: Tensor) -> Tensor:
        """The state of each row before its first token, (B,) int64; ``limits`` (B,) are the tokens it may take."""

    def allowed(self, states: Tensor, remaining: Tensor) -> Tensor:
        """(B, V) bool: tokens with which a row can still end within its ``remaining`` (B,) tokens, this one counted."""

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """The states (B,) after ``tokens`` (B,)."""

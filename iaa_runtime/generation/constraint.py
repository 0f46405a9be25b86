"""What a grammar over tokens has to offer, so that decoding can hold answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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

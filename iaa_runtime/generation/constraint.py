"""What a grammar over tokens has to offer, so that decoding can hold answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Held(Protocol):
    """The rows of a batch under a grammar, as the token loop moves them."""

    def allowed(self, remaining: Tensor) -> Tensor:
        """(B, V) bool: tokens that a row may take next, of the ``remaining`` (B,) it may still have."""

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """Goes on by a token a row, given on the device (B,) and on the host."""

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """Keeps the rows at these positions, given on the device and on the host."""


class Grammar(Protocol):
    """A grammar over tokens."""

    def hold(self, limits: Sequence[int], device: torch.device) -> Held:
        """Rows before their first tokens, of which each may take ``limits``."""

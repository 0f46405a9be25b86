"""Answers held to a format: a matcher a row, on the host, whose masks go to the device as bits.

The loop tells rows their tokens when it has fetched them anyway, and has then already launched the next step: on a GPU,
masks are computed while that runs.

Symbols: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..text.formats import Formats


class FormatGrammar:
    """One format over a tokenizer; a :class:`.constraint.Grammar`.

    Args:
        formats: of the tokenizer.
        format: a JSON schema or a regular expression.
        vocab_size: V.

    Raises:
        InputError: answers cannot be held to it.
    """

    def __init__(self, formats: Formats, format: str, vocab_size: int) -> None:
        self._formats, self._format, self._vocab_size = formats, format, vocab_size
        formats.matcher(format)

    def hold(self, limits: Sequence[int], device: torch.device) -> FormatRows:
        """Rows before their first tokens."""
        return FormatRows([self._formats.matcher(self._format) for _ in limits], self._vocab_size, device)

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether tokens, without the end token, are a whole answer."""
        matcher = self._formats.matcher(self._format)
        return bool(matcher.try_consume_tokens(list(ids)) == len(ids) and matcher.is_accepting())


class FormatRows:
    """Rows under a format, a matcher each; a :class:`.constraint.Held`."""

    def __init__(self, matchers: list[Any], vocab_size: int, device: torch.device) -> None:
        self._matchers, self._vocab_size, self._device = matchers, vocab_size, device
        self._bits = torch.arange(8, device=device, dtype=torch.uint8)

    def allowed(self, remaining: Tensor) -> Tensor:
        """(B, V) bool: what may follow; an answer may still be cut for want of tokens.

        Raises:
            InputError: a format has become too large on the way, or nothing may follow.
        """
        packed = bytearray()
        for matcher in self._matchers:
            packed += matcher.compute_bitmask()
            _check(matcher)
        mask = torch.frombuffer(packed, dtype=torch.uint8).view(len(self._matchers), -1, 1)
        if self._device.type == "cuda":
            mask = mask.pin_memory()
        mask = mask.to(self._device, non_blocking=True)
        return (mask.bitwise_right_shift(self._bits) & 1).bool().flatten(1)[:, : self._vocab_size]

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """Tells each row its token; raises :class:`InputError` for one that was not allowed: there was none other."""
        for matcher, token in zip(self._matchers, ids, strict=True):
            matcher.consume_token(token)
            _check(matcher)

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """Keeps the rows at these positions."""
        self._matchers = [self._matchers[row] for row in kept]


def _check(matcher: Any) -> None:
    if matcher.is_error():
        reason = " ".join(matcher.get_error().split())[:200]
        raise InputError(
            f"In mid-answer, nothing could follow that has the format ({reason}). Make the format simpler: shorter "
            "repetitions, fewer choices."
        )

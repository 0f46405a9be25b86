"""Decodes tokens as they come: whole characters only, nothing behind a stop string, no blanks at either end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .tokenizer import decode

BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no character, or only a part of one."""


class TextStream:
    """Decodes one answer token by token into chunks of text; the chunks together are the answer.

    Args:
        tokenizer: the checkpoint's.
        stop: strings before which the answer ends.

    Attributes:
        text: the answer so far.
        stopped: whether a stop string was met.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(s for s in stop if s)
        self._pending: list[int] = []
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Takes a token and returns the text that is now certain, often none."""
        self._pending.append(token)
        chunk = decode(self._tokenizer, self._pending)
        # A character may be spread over tokens; its bytes decode as broken until the last one is there.
        if self.stopped or not chunk or chunk.endswith(BROKEN):
            return ""
        self._pending.clear()
        return self._emit(chunk)

    def finish(self) -> str:
        """Returns what was held back, once no token will follow."""
        chunk, self._pending = decode(self._tokenizer, self._pending), []
        rest = "" if self.stopped else self._emit(chunk)
        if not self.stopped:
            tail, self._held = self._held.rstrip(), ""
            self.text += tail
            rest += tail
        return rest

    def decode(self, tokens: Iterable[int]) -> str:
        """Takes all tokens of an answer and returns its text."""
        for token in tokens:
            self.push(token)
            if self.stopped:
                break
        self.finish()
        return self.text

    def _emit(self, chunk: str) -> str:
        """Takes on decoded text and returns what can no longer become a stop string or a trailing blank."""
        held = self._held + chunk
        if not self.text:
            held = held.lstrip()
        cuts = [held.find(stop) for stop in self._stop if stop in held]
        if cuts:
            self.stopped = True
            sure, self._held = held[: min(cuts)].rstrip(), ""
        else:
            keep = self._undecided(held)
            sure, self._held = held[: len(held) - keep], held[len(held) - keep :]
        self.text += sure
        return sure

    def _undecided(self, text: str) -> int:
        """How many characters at the end may yet become a stop string or be trailing blanks."""
        keep = 0
        for stop in self._stop:
            keep = max(
                keep, next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
            )
        body = text[: len(text) - keep]
        return keep + len(body) - len(body.rstrip())

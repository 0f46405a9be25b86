"""How far a node is: its bar, and the text that it writes while it writes it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import comfy.utils

from ..iaa_runtime.jobs.progress import duration
from ..iaa_runtime.pipeline.base import BATCH_ROWS
from .room import interrupt_kept

LIKELY = 64
"""Tokens of an answer, as long as none is finished: a few sentences."""
STEPS = 1000
"""Of a progress bar."""
TEXT_INTERVAL = 0.1
"""Seconds between two updates of live text."""
LONGEST_LIVE_TEXT = 20_000
"""Characters, the newest ones: whoever watches reads no more, and hundreds of answers would flood the browser."""


class Progress:
    """One progress bar and live text for a node's whole run.

    Hardly an answer is as long as it may be, so the bar counts answers: those that are finished, and of the others how
    near they are to the likely length, which is the mean of the finished ones once there are some.

    Args:
        rows: answers that will be written, as far as one can tell; if they become more, each counts for less.
        max_new_tokens: of each.
        node_id: shows live text on that node; None shows none.
        batch_rows: answers that are written at once.
        likely: tokens of an answer, as long as none is finished.
    """

    def __init__(
        self,
        rows: int,
        max_new_tokens: int,
        node_id: str | None = None,
        batch_rows: int = BATCH_ROWS,
        likely: float = LIKELY,
    ) -> None:
        self._bar = comfy.utils.ProgressBar(STEPS)
        self._likely, self._batch_rows, self._node_id = min(likely, max_new_tokens), batch_rows, node_id
        self._tokens, self._finished, self._begun, self._part = [0] * rows, 0, 0, 0.0
        self._texts = [""] * rows
        self._send = _text_sender()
        self._sent_at = 0.0

    def on_token(self, row: int, token: int) -> None:
        """Counts a token. Rows of earlier batches count as finished, which of a server's is nearly so."""
        self._tokens += [0] * (row + 1 - len(self._tokens))
        self._tokens[row] += 1
        self._begun = max(self._begun, row + 1)
        first = row - row % self._batch_rows
        if first > self._finished:
            self._finished = first
            self._likely = max(1.0, sum(self._tokens[:first]) / first)
        under_way = sum(1 - math.exp(-2 * n / self._likely) for n in self._tokens[self._finished : self._begun])
        self._part = max(self._part, (self._finished + under_way) / len(self._tokens))  # no bar goes back
        self._bar.update_absolute(int(STEPS * self._part))

    def on_text(self, row: int, piece: str) -> None:
        """Shows an answer as it grows; seldom enough that many long answers do not flood the browser."""
        self._texts += [""] * (row + 1 - len(self._texts))
        self._texts[row] += piece
        if time.monotonic() - self._sent_at >= TEXT_INTERVAL:
            self._show()

    def done(self) -> None:
        """Fills the bar and shows what was written last."""
        self._bar.update_absolute(self._bar.total)
        self._show()

    def _show(self) -> None:
        self._sent_at = time.monotonic()
        if self._node_id is not None:
            newest, room = list[str](), LONGEST_LIVE_TEXT
            for text in filter(None, reversed(self._texts)):
                newest.append(text[-room:])
                room -= len(newest[-1]) + 2
                if room <= 0:
                    break
            self._send(_encodable("\n\n".join(reversed(newest))), _encodable(self._node_id))


class Phases:
    """A bar and words for a run of several phases, each of which counts what it does; hearing Cancel is left to others.

    Args:
        node_id: shows the words on that node.
        words: what is going on, by what is counted, up to a comma; that itself for others.
    """

    def __init__(self, node_id: str, words: Mapping[str, str]) -> None:
        self._node_id, self._words, self._send = _encodable(node_id), words, _text_sender()
        self._what, self._began, self._first, self._sent_at = "", 0.0, 0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Hears how many are done of what is counted."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._first, self._sent_at = what, now, done, 0.0
            self._bar = comfy.utils.ProgressBar(total)  # one that never went back
        with interrupt_kept():
            self._bar.update_absolute(done)
        if done >= total or now - self._sent_at >= TEXT_INTERVAL:
            self._sent_at = now
            self._send(self._described(done, total, now), self._node_id)

    def _described(self, done: int, total: int, now: float) -> str:
        words = self._words.get(self._what.split(",")[0], self._what)
        line = f"{words}: {done:,} of {total:,}"
        fresh, elapsed = done - self._first, now - self._began
        return f"{line}, {duration((total - done) * elapsed / fresh)} left" if fresh and done < total else line


def _encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which an API graph may have in the name of a node."""
    return text.encode("utf-8", "replace").decode()


def _text_sender() -> Callable[[str, str], None]:
    """Sends (text, node id) to whoever queued what runs, and to nobody where they do not listen."""
    from server import PromptServer  # there is no instance outside a running server

    server = getattr(PromptServer, "instance", None)

    def send(text: str, node_id: str) -> None:
        # Without a receiver ComfyUI would send it to every browser, where a node of the same id would show it.
        if server is not None and server.client_id is not None:
            server.send_progress_text(text, node_id, sid=server.client_id)

    return send

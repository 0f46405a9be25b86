"""Sends several requests to servers at once, from threads; the caller follows the answers and can cancel them all."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ...errors import Cancel, check_cancelled
from ..background import begin
from .messages import Completion, most_bytes, parse_prompt, parse_stream
from .retries import Retries, with_retries
from .servers import Endpoint
from .transport import LONGEST_JSON, CancelToken, Timeouts, lines, request

POLL_SECONDS = 0.05
"""How often ``cancelled`` is checked while no answer grows."""

THREADS = "remote"
"""What those that wait for servers are called."""

Result = TypeVar("Result")
Body = Callable[[], dict[str, Any]]
"""Makes a request's JSON in the thread that sends it, where pictures are encoded, so that few are held at a time."""
Update = tuple[int, Completion]
"""Says that the answer of a row has grown; it may have grown further when this is read."""
OnAnswer = Callable[[int, str, int], None] | None
"""Called with (row, its text so far, its tokens so far)."""


def cancellable(work: Callable[[], Result], cancel_token: CancelToken, cancelled: Cancel = None) -> Result:
    """Runs ``work`` in a thread. Once ``cancelled`` is True, cancels the token and raises :class:`Cancelled`."""
    try:
        future = begin(work, THREADS)
        while not wait([future], POLL_SECONDS).done:
            check_cancelled(cancelled)
        return future.result()
    finally:
        cancel_token.cancel()


@dataclass(frozen=True)
class Workers:
    """Sends requests, several at once, each with retries.

    Attributes:
        count: requests at once.
        timeouts: of each request.
        retries: of each request.
    """

    count: int
    timeouts: Timeouts
    retries: Retries

    def complete(
        self, endpoint: Endpoint, bodies: Iterable[Body], on_answer: OnAnswer = None, cancelled: Cancel = None
    ) -> list[Completion]:
        """Sends requests and waits for all answers.

        Args:
            endpoint: where they go.
            bodies: the requests.
            on_answer: called, in this thread, as each answer grows; after a retry it starts again from nothing.
            cancelled: True, or whatever it raises, ends all requests at once.

        Returns:
            The answers, in the order of the requests.

        Raises:
            Cancelled: ``cancelled`` returned True.
            RemoteError: a request failed for good; the others are ended.
        """
        updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
        cancel_token = CancelToken()
        waiting = enumerate(bodies)
        under_way: dict[int, Future[Completion]] = {}
        done: dict[int, Completion] = {}
        try:
            while True:
                while len(under_way) < self.count and (following := next(waiting, None)) is not None:
                    row, body = following
                    under_way[row] = begin(partial(self._send, endpoint, row, body, updates, cancel_token), THREADS)
                if not under_way:
                    return [done[row] for row in sorted(done)]
                finished = [row for row, future in under_way.items() if future.done()]
                for row, answer in _drain(updates, 0 if finished else POLL_SECONDS):
                    if on_answer is not None:
                        on_answer(row, answer.text, answer.chunks)
                    check_cancelled(cancelled)  # servers may talk faster than we listen
                check_cancelled(cancelled)
                for row in finished:
                    done[row] = under_way.pop(row).result()
        finally:
            cancel_token.cancel()

    def _send(
        self, endpoint: Endpoint, row: int, body: Body, updates: queue.SimpleQueue[Update], cancel_token: CancelToken
    ) -> Completion:
        content: dict[str, Any] = {"model": endpoint.model, "stream": True} | body()
        limit: int = content["max_tokens"]
        url = f"{endpoint.url}/chat/completions"

        def send_once() -> Completion:
            answer = Completion()
            with request(url, content, endpoint.key, self.timeouts, cancel_token) as response:
                if not content["stream"]:
                    return parse_prompt(response.read(LONGEST_JSON))
                for answer in parse_stream(lines(response, cancel_token, most_bytes(limit)), limit):
                    updates.put((row, answer))
            return answer

        return with_retries(send_once, endpoint.url, self.retries, cancel_token)


def _drain(updates: queue.SimpleQueue[Update], patience: float) -> Iterator[Update]:
    """Yields the updates so far, waiting up to ``patience`` seconds for the first."""
    try:
        yield updates.get(timeout=patience) if patience else updates.get_nowait()
        while True:
            yield updates.get_nowait()
    except queue.Empty:
        return

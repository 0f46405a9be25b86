"""Many requests under way at once; the caller's own thread hears of them, and can end them all."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import Cancelled
from ...generation.prefill import Cancel
from .messages import Completion, read_stream
from .retries import Retries, persistently
from .servers import Served
from .transport import Lifeline, Timeouts, lines, request

WATCH_SECONDS = 0.05
"""How often ``cancelled`` is asked while nothing comes."""

Result = TypeVar("Result")
Body = Callable[[], dict[str, Any]]
"""Makes a request's JSON, in the thread that sends it: pictures are encoded there, and only so many at a time."""
OnAnswer = Callable[[int, str, int], None] | None
"""Called with (row, the answer's text so far, its tokens so far)."""


def watched(work: Callable[[], Result], lifeline: Lifeline, cancelled: Cancel = None) -> Result:
    """Does in a thread what hangs on the lifeline, so that ``cancelled`` can end it: :class:`Cancelled` then."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="remote")
    try:
        future = pool.submit(work)
        while not wait([future], WATCH_SECONDS).done:
            _check(cancelled)
        return future.result()
    finally:
        lifeline.cut()
        pool.shutdown(wait=False)


def _check(cancelled: Cancel) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled("The server's answer was cancelled.")


@dataclass(frozen=True)
class Crew:
    """Sends requests, so many at a time, each as often as it takes.

    Attributes:
        workers: requests at once.
        timeouts: of each.
        retries: of each.
    """

    workers: int
    timeouts: Timeouts
    retries: Retries

    def complete(
        self, served: Served, bodies: Iterable[Body], on_answer: OnAnswer = None, cancelled: Cancel = None
    ) -> list[Completion]:
        """Has every request answered.

        Args:
            served: by whom.
            bodies: the requests.
            on_answer: hears, in this thread, of every answer as it grows; one that had to be begun anew is shorter.
            cancelled: True, or whatever it raises, gives up all requests at once.

        Returns:
            An answer a request, in their order.

        Raises:
            Cancelled: ``cancelled`` said so.
            RemoteError: a request failed for good; the others are given up.
        """
        news: queue.SimpleQueue[tuple[int, str, int]] = queue.SimpleQueue()
        lifeline = Lifeline()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="remote")
        waiting = enumerate(bodies)
        under_way: dict[int, Future[Completion]] = {}
        done: dict[int, Completion] = {}
        try:
            while True:
                while len(under_way) < self.workers and (following := next(waiting, None)) is not None:
                    row, body = following
                    under_way[row] = pool.submit(self._persist, served, row, body, news, lifeline)
                if not under_way:
                    return [done[row] for row in sorted(done)]
                finished = [row for row, future in under_way.items() if future.done()]
                for heard in _drain(news, 0 if finished else WATCH_SECONDS):
                    if on_answer is not None:
                        on_answer(*heard)
                _check(cancelled)
                for row in finished:
                    done[row] = under_way.pop(row).result()
        finally:
            lifeline.cut()
            pool.shutdown(wait=False, cancel_futures=True)

    def _persist(self, served: Served, row: int, body: Body, news: Any, lifeline: Lifeline) -> Completion:
        content = {"model": served.model, "stream": True} | body()
        return persistently(lambda: self._try(served, row, content, news, lifeline), served.url, self.retries, lifeline)

    def _try(self, served: Served, row: int, content: dict[str, Any], news: Any, lifeline: Lifeline) -> Completion:
        answer = Completion()
        url = f"{served.url}/chat/completions"
        with request(url, content, served.key, self.timeouts, lifeline) as response:
            for answer in read_stream(lines(response, lifeline)):
                news.put((row, answer.text, answer.chunks))
        return answer


def _drain(news: queue.SimpleQueue[tuple[int, str, int]], patience: float) -> Iterator[tuple[int, str, int]]:
    """What has been heard, waiting ``patience`` seconds for the first of it."""
    try:
        yield news.get(timeout=patience) if patience else news.get_nowait()
        while True:
            yield news.get_nowait()
    except queue.Empty:
        return

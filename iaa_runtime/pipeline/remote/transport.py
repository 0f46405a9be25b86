"""HTTP requests to a model server: JSON out, JSON or a stream of lines in, cancellable at any moment.

With the standard library alone: the pack promises ComfyUI's users that nothing is installed, and ComfyUI brings neither
httpx nor the openai package. Proxies are not used and redirects not followed.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import RemoteError
from .said import refusal_message

LONGEST_JSON, LONGEST_REFUSAL = 1 << 22, 1 << 16
"""Limits of what is read of answers that are not streams, in bytes; no valid one is longer."""
LONGEST_LINE = 1 << 20
"""Bytes of one line of a stream. An event has a token or a few; many requests may each hold a line."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a server, in seconds.

    Attributes:
        connect: for a connection.
        silence: for the next data of an answer, the first included (requests to a busy server queue).
        whole: from a request to the end of its answer, whatever comes meanwhile. None is ten times ``silence``, and ten
            minutes at least.
    """

    connect: float = 10.0
    silence: float = 120.0
    whole: float | None = None

    @property
    def deadline(self) -> float:
        """Seconds from a request to the end of its answer."""
        return max(600.0, 10 * self.silence) if self.whole is None else self.whole


class Dropped(Exception):  # noqa: N818 - an event that a retry may mend
    """The connection could not be made, broke, or fell silent."""


class Refused(Exception):  # noqa: N818 - likewise
    """The server answered with another status than 200.

    Attributes:
        status: of HTTP.
        message: of the API's error object; empty if there is none.
        retry_after: the Retry-After header; empty if absent.
    """

    def __init__(self, status: int, message: str, retry_after: str = "") -> None:
        super().__init__(f"status {status}" + (f": {message}" if message else ""))
        self.status, self.message, self.retry_after = status, message, retry_after


class Nonsense(Exception):  # noqa: N818 - the caller says what of
    """What came cannot be what was asked for; the message says why, and quotes nothing of it."""


class Aborted(Exception):  # noqa: N818 - what the caller asked for
    """The request ended because its :class:`CancelToken` was cancelled."""


class CancelToken:
    """Ends requests from another thread, at once, whatever they are waiting for."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Ends the requests. The server sees the closed connections, and stops too."""
        with self._lock:
            self._cancelled.set()
            for connected in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)  # TLS's own is not for other threads

    def check(self) -> None:
        """Raises :class:`Aborted` if it has been cancelled."""
        if self._cancelled.is_set():
            raise Aborted

    def sleep(self, seconds: float) -> None:
        """Waits; raises :class:`Aborted` as soon as it is cancelled."""
        if self._cancelled.wait(seconds):
            raise Aborted

    @contextmanager
    def closes(self, connected: socket.socket) -> Iterator[None]:
        """Lets :meth:`cancel` shut a socket down, while the context lasts."""
        with self._lock:
            self._sockets.add(connected)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(connected)


class _Response(http.client.HTTPResponse):
    """An answer whose chunks are of sizes that there are: of -1 byte, Python would read without an end."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if not 0 <= size <= sys.maxsize:
            self._close_conn()  # type: ignore[attr-defined]
            raise ValueError  # as of a size that is no number
        return size


@contextmanager
def request(
    url: str, body: Any, key: str | None, timeouts: Timeouts, cancel_token: CancelToken
) -> Iterator[http.client.HTTPResponse]:
    """Sends a request and gives the open answer; reading from it may raise the same errors.

    Args:
        url: http or https.
        body: goes out as JSON by POST; None makes it a GET.
        key: goes out as a bearer token.
        timeouts: how long to wait.
        cancel_token: ends it early.

    Raises:
        Dropped: the connection failed, broke or fell silent.
        Refused: the status is not 200.
        RemoteError: the answer did not end in time.
        Aborted: the token was cancelled.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeouts.connect)
    connection.response_class = _Response
    headers = {"Accept": "*/*", "User-Agent": "iaa-nodes"} | ({"Authorization": f"Bearer {key}"} if key else {})
    content, timeout = None, timeouts.connect
    if body is not None:
        content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        cancel_token.check()
        connection.connect()
        timeout = timeouts.silence
        connection.sock.settimeout(timeout)
        with cancel_token.closes(connection.sock), _deadline(connection.sock, timeouts.deadline, url):
            connection.request("GET" if body is None else "POST", parts.path or "/", content, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                message = refusal_message(answer.read(LONGEST_REFUSAL))
                raise Refused(answer.status, message, answer.getheader("Retry-After", ""))
            yield answer
    except TimeoutError as error:
        cancel_token.check()
        raise Dropped(f"no word within {timeout:g} s") from error
    except OSError as error:
        cancel_token.check()
        raise Dropped(str(error) or type(error).__name__) from error
    except http.client.HTTPException as error:  # its text may be what came, such as another program's banner
        cancel_token.check()
        raise Dropped(f"what came is no HTTP ({type(error).__name__})") from error
    finally:
        connection.close()


@contextmanager
def _deadline(connected: socket.socket, seconds: float, url: str) -> Iterator[None]:
    """Shuts a socket down after so many seconds, whatever is being read; raises :class:`RemoteError` then."""
    passed = threading.Event()

    def end() -> None:
        passed.set()
        with suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:  # whatever the half of an answer looked like
        if not passed.is_set():
            raise
        raise RemoteError(
            f"The server {url} had not ended its answer after {seconds:g} s. Ask for fewer tokens, or be more patient: "
            "an answer may take ten times the timeout (--server-timeout)."
        ) from None
    finally:
        timer.cancel()


def get_json(url: str, key: str | None, timeouts: Timeouts, cancel_token: CancelToken) -> Any:
    """The JSON at a URL; raises as :func:`request` does, and ValueError or RecursionError if it is none to read."""
    with request(url, None, key, timeouts, cancel_token) as answer:
        return json.loads(answer.read(LONGEST_JSON))


def lines(answer: http.client.HTTPResponse, cancel_token: CancelToken, most: int) -> Iterator[bytes]:
    """Yields an answer's lines as they arrive, without line ends; an answer that breaks off simply ends.

    Args:
        answer: what :func:`request` gives.
        cancel_token: ends it early.
        most: bytes that all lines may have together.

    Raises:
        Nonsense: they have more, or one has more than ``LONGEST_LINE``.
    """
    left = most
    while line := answer.readline(min(left, LONGEST_LINE) + 1):
        if len(line) > LONGEST_LINE:
            raise Nonsense(f"a line of it has more than {LONGEST_LINE:,} bytes")
        left -= len(line)
        if left < 0:
            raise Nonsense(f"it has more than {most:,} bytes")
        cancel_token.check()
        yield line.rstrip(b"\r\n")
    cancel_token.check()

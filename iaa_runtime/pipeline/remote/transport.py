"""HTTP requests to a model server: JSON out, JSON or a stream of lines in, cancellable at any moment.

With the standard library alone: the pack promises ComfyUI's users that nothing is installed, and ComfyUI brings neither
httpx nor the openai package. Proxies are not used and redirects not followed.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LONGEST_LINE = 1 << 22
"""Limit of a line, and of an answer that is not a stream, in bytes; no valid answer is longer."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a server, in seconds.

    Attributes:
        connect: for a connection.
        silence: for the next data of an answer, the first included (requests to a busy server queue).
    """

    connect: float = 10.0
    silence: float = 120.0


class Dropped(Exception):  # noqa: N818 - an event that a retry may mend
    """The connection could not be made, broke, or fell silent."""


class Refused(Exception):  # noqa: N818 - likewise
    """The server answered with another status than 200.

    Attributes:
        status: of HTTP.
        body: of the answer.
        retry_after: the Retry-After header; empty if absent.
    """

    def __init__(self, status: int, body: str, retry_after: str = "") -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body, self.retry_after = status, body, retry_after


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
        Aborted: the token was cancelled.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeouts.connect)
    headers = {"Accept": "*/*", "User-Agent": "iaa-nodes"} | ({"Authorization": f"Bearer {key}"} if key else {})
    content, timeout = None, timeouts.connect
    if body is not None:
        content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        cancel_token.check()
        connection.connect()
        timeout = timeouts.silence
        connection.sock.settimeout(timeout)
        with cancel_token.closes(connection.sock):
            connection.request("GET" if body is None else "POST", parts.path or "/", content, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                reason = answer.read(LONGEST_LINE).decode(errors="replace")
                raise Refused(answer.status, reason, answer.getheader("Retry-After", ""))
            yield answer
    except TimeoutError as error:
        cancel_token.check()
        raise Dropped(f"no word within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        cancel_token.check()
        raise Dropped(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def get_json(url: str, key: str | None, timeouts: Timeouts, cancel_token: CancelToken) -> Any:
    """The JSON at a URL; raises as :func:`request` does, and ValueError if it is not JSON."""
    with request(url, None, key, timeouts, cancel_token) as answer:
        return json.loads(answer.read(LONGEST_LINE))


def lines(answer: http.client.HTTPResponse, cancel_token: CancelToken) -> Iterator[bytes]:
    """Yields an answer's lines as they arrive, without line ends; an answer that breaks off simply ends.

    Raises:
        ValueError: a line is longer than any valid one.
    """
    while line := answer.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ValueError("a line without an end")
        cancel_token.check()
        yield line.rstrip(b"\r\n")
    cancel_token.check()

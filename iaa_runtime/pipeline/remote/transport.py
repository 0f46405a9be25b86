"""HTTP as far as a model server needs it: JSON out, JSON or a stream of lines in, ended at any moment.

On the standard library alone: the pack promises ComfyUI's users that nothing is installed, and neither httpx nor the
openai package is among what ComfyUI brings. Proxies are not used and redirects not followed.
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
"""Bytes of a line, and of an answer that is no stream; more is no answer to what we ask."""


@dataclass(frozen=True)
class Timeouts:
    """How long is waited, in seconds.

    Attributes:
        connect: for a connection.
        silence: for the next piece of an answer, the first one included (a busy server lets requests queue).
    """

    connect: float = 10.0
    silence: float = 120.0


class Dropped(Exception):  # noqa: N818 - an event that a retry may mend
    """The connection could not be made, broke, or fell silent."""


class Refused(Exception):  # noqa: N818 - likewise
    """The server answered with another status than 200.

    Attributes:
        status: of HTTP.
        body: what it said.
        retry_after: its header of that name; empty where there is none.
    """

    def __init__(self, status: int, body: str, retry_after: str = "") -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body, self.retry_after = status, body, retry_after


class Aborted(Exception):  # noqa: N818 - what the caller asked for
    """The request was given up because its :class:`Lifeline` was cut."""


class Lifeline:
    """Ends, from another thread and at once, every wait of the requests that hang on it."""

    def __init__(self) -> None:
        self._cut = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Ends them. The server notices that nobody listens, and stops too."""
        with self._lock:
            self._cut.set()
            for held in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(held, socket.SHUT_RDWR)  # TLS's own is not for other threads

    def check(self) -> None:
        """Raises :class:`Aborted` if it has been cut."""
        if self._cut.is_set():
            raise Aborted

    def sleep(self, seconds: float) -> None:
        """Waits, unless it is cut meanwhile: then raises :class:`Aborted`."""
        if self._cut.wait(seconds):
            raise Aborted

    @contextmanager
    def holds(self, connected: socket.socket) -> Iterator[None]:
        """Lets :meth:`cut` end the waits on a socket."""
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
    url: str, body: Any, key: str | None, timeouts: Timeouts, lifeline: Lifeline
) -> Iterator[http.client.HTTPResponse]:
    """Sends a request and gives the answer, whose reading may raise what this raises.

    Args:
        url: http or https.
        body: goes out as JSON by POST; None makes it a GET.
        key: goes out as a bearer token.
        timeouts: how long is waited.
        lifeline: ends it early.

    Raises:
        Dropped: there is no connection any more, or nothing comes through it.
        Refused: the status is not 200.
        Aborted: the lifeline was cut.
    """
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=timeouts.connect)
    headers = {"Accept": "*/*", "User-Agent": "iaa-nodes"} | ({"Authorization": f"Bearer {key}"} if key else {})
    content, waited = None, timeouts.connect
    if body is not None:
        content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        lifeline.check()
        connection.connect()
        waited = timeouts.silence
        connection.sock.settimeout(waited)
        with lifeline.holds(connection.sock):
            connection.request("GET" if body is None else "POST", place.path or "/", content, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                said = answer.read(LONGEST_LINE).decode(errors="replace")
                raise Refused(answer.status, said, answer.getheader("Retry-After", ""))
            yield answer
    except TimeoutError as error:
        lifeline.check()
        raise Dropped(f"no word within {waited:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        lifeline.check()
        raise Dropped(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def get_json(url: str, key: str | None, timeouts: Timeouts, lifeline: Lifeline) -> Any:
    """The JSON at a URL; raises as :func:`request` does, and ValueError where there is none."""
    with request(url, None, key, timeouts, lifeline) as answer:
        return json.loads(answer.read(LONGEST_LINE))


def lines(answer: http.client.HTTPResponse, lifeline: Lifeline) -> Iterator[bytes]:
    """An answer's lines as they come, without their ends; a broken answer simply ends.

    Raises:
        ValueError: a line is longer than any that would make sense.
    """
    while line := answer.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ValueError("a line without an end")
        lifeline.check()
        yield line.rstrip(b"\r\n")
    lifeline.check()

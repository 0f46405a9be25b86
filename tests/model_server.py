"""A real HTTP server that speaks OpenAI's chat completions, well or badly, as a test tells it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Exchange", dict[str, Any]], None]
BOX = ("[", "0", ".", "25", ",", "0", ".", "25", ",", "0", ".", "75", ",", "0", ".", "5", "]", "<|eot_id|>")


class Exchange(BaseHTTPRequestHandler):
    """One request and what is said to it."""

    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_GET(self) -> None:
        """Lists the models."""
        self.server.note(self, None)
        try:
            self.server.lists(self, {})
        except OSError:
            self.server.hung_up.set()
            self.close_connection = True

    def do_POST(self) -> None:
        """Behaves as the test says; the last behaviour stays."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behave = self.server.note(self, body)
        try:
            behave(self, body)
        except OSError:
            self.server.hung_up.set()
            self.close_connection = True
        finally:
            self.server.leave()

    def send(self, status: int, content: str, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def begin(self) -> None:
        """Starts a stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, content: Any) -> None:
        """One event of a stream."""
        data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        line = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def token(self, text: str, logprob: float = -0.5, **choice: Any) -> None:
        """A token of an answer."""
        shown = "" if text.startswith("<|") else text
        told = {"content": [{"token": text, "logprob": logprob, "bytes": list(text.encode())}]}
        self.event({"choices": [{"index": 0, "delta": {"content": shown}, "logprobs": told, **choice}]})

    def end(self, reason: str = "stop") -> None:
        """Ends an answer as it should."""
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Says nothing on stderr."""

    def log_error(self, *_: Any) -> None:
        """Likewise."""


class ModelServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        models: the names that it serves.
        lists: how it says so.
        behaviours: what it does at one request after the other.
        bodies: what was asked, in order.
        headers: of every request.
        most: requests that were under way at once.
        hung_up: set when a client went away in mid-answer.
        released: ends what stalls.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *models: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.models = list(models)
        self.lists: Behaviour = lists_models
        self.behaviours: list[Behaviour] = [says("Fine", ".")]
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = 0
        self.hung_up, self.released = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def behaves(self, *behaviours: Behaviour) -> None:
        """Does these from now on."""
        self.behaviours = list(behaviours)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def note(self, exchange: Exchange, body: dict[str, Any] | None) -> Behaviour:
        """Remembers a request, and says what to do about it."""
        with self._lock:
            self.headers.append(dict(exchange.headers))
            if body is None:
                return self.behaviours[0]
            self.bodies.append(body)
            self._now += 1
            self.most = max(self.most, self._now)
            return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]

    def leave(self) -> None:
        """A request is over."""
        with self._lock:
            self._now -= 1


def lists_models(exchange: Exchange, body: dict[str, Any]) -> None:
    """Names the models."""
    models = [{"id": name, "max_model_len": 640} for name in exchange.server.models]
    exchange.send(200, json.dumps({"data": models}))


@contextmanager
def serving(*models: str) -> Iterator[ModelServer]:
    """A server that runs, on a free port of this machine."""
    with ModelServer(*models) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()


def says(*tokens: str, logprob: float = -0.5, reason: str = "stop", slowly: float = 0.0) -> Behaviour:
    """Answers as it should."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.begin()
        for token in tokens:
            exchange.token(token, logprob)
            time.sleep(slowly)
        exchange.end(reason)

    return behave


def stalls(*tokens: str) -> Behaviour:
    """Says a little, and then nothing, until it is released or the client is gone."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.begin()
        for token in tokens:
            exchange.token(token)
        exchange.connection.settimeout(0.02)
        while not exchange.server.released.is_set():
            try:
                if exchange.connection.recv(1) == b"":
                    raise ConnectionResetError
            except TimeoutError:
                continue

    return behave


def drops(*tokens: str) -> Behaviour:
    """Says a little, and closes the connection."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        if tokens:
            exchange.begin()
        for token in tokens:
            exchange.token(token)
        exchange.close_connection = True

    return behave


def refuses(status: int, content: str = '{"error": {"message": "no"}}', **headers: str) -> Behaviour:
    """Answers with a status."""
    return lambda exchange, body: exchange.send(status, content, **headers)


def streams(*events: Any) -> Behaviour:
    """Sends events that are whatever the test likes, and ends the stream."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.begin()
        for event in events:
            exchange.event(event)
        exchange.wfile.write(b"0\r\n\r\n")

    return behave


def repeats(data: bytes, pause: float = 0.0) -> Behaviour:
    """Begins a stream, and goes on with the same bytes until it is released or the client is gone."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.begin()
        while not exchange.server.released.wait(pause):
            exchange.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    return behave


def babbles(data: bytes, pause: float = 0.0) -> Behaviour:
    """Speaks no HTTP: the same bytes until it is released or the client is gone."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        while not exchange.server.released.wait(pause):
            exchange.wfile.write(data)

    return behave

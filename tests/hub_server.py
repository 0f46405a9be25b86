"""A real HTTP server that speaks as much of the Hugging Face hub as a download asks for.

Its files are in Xet storage, as those of the real hub are, but nothing answers there: whoever fetches by Xet is found
out.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1 << 20
"""Bytes that are sent at once."""


class Exchange(BaseHTTPRequestHandler):
    """One request and what is said to it."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        """Tells of a file."""
        self.do_GET()

    def do_GET(self) -> None:
        """Lists the files, or sends one."""
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        try:
            if "/tree/" in path:
                self._json([self.server.entry(name) for name in self.server.files])
            elif path.startswith("/api/models/") and "token" not in path:
                siblings = [{"rfilename": name} for name in self.server.files]
                self._json({"id": "a/b", "sha": COMMIT, "siblings": siblings})
            elif (name := path.partition("/resolve/")[2].partition("/")[2]) in self.server.files:
                self._file(name)
            else:
                self.send_error(404)
        except OSError:
            self.close_connection = True

    def _json(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _file(self, name: str) -> None:
        data = self.server.files[name]
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        entry = self.server.entry(name)
        told = {
            "X-Repo-Commit": self.path.partition("/resolve/")[2].partition("/")[0],
            "ETag": f'"{entry["lfs"]["oid"]}"',
            "Content-Length": len(data) - begin,
        }
        told |= {"X-Linked-Size": len(data), "X-Linked-ETag": told["ETag"], "X-Xet-Hash": entry["xetHash"]}
        told |= {"Link": f'<{self.server.url}/xet-read-token>; rel="xet-auth"'}
        told |= {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        for header, value in told.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        for place in range(begin, len(data), PIECE):
            if name in self.server.breaks and place >= self.server.breaks[name]:
                self.close_connection = True
                return
            if place >= self.server.stalls.get(name, len(data)):
                self.server.released.wait()
            self.wfile.write(data[place : place + PIECE])
            self.server.sent += len(data[place : place + PIECE])
            time.sleep(self.server.pause)

    def log_message(self, *_: Any) -> None:
        """Says nothing on stderr."""


class HubServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: name -> content.
        pause: seconds after every megabyte.
        stalls: name -> byte at which nothing more comes.
        breaks: name -> byte at which the connection is closed.
        asked: paths, in order.
        sent: bytes of files.
        released: ends what stalls.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.files, self.pause, self.sent = dict(files), 0.0, 0
        self.stalls: dict[str, int] = {}
        self.breaks: dict[str, int] = {}
        self.asked: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def entry(self, name: str) -> dict[str, Any]:
        """What the hub tells of a file."""
        data = self.files[name]
        oid = sha256(name.encode() + bytes(len(data) % 251)).hexdigest()
        stored = {"oid": oid, "size": len(data), "pointerSize": 134}
        return {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": sha1(oid.encode()).hexdigest(),
            "lfs": stored,
            "xetHash": oid,
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def ask_it(server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the hub's library, which is imported already, ask this server, and keep what it fetches in ``cache``."""
    from huggingface_hub import constants

    files = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", files, raising=False)
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": files,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    forget_sessions()


def forget_sessions() -> None:
    """Those of the library's version 0 remember for good whether they are offline."""
    from huggingface_hub import utils

    getattr(utils, "reset_sessions", lambda: None)()


@contextmanager
def serving_hub(files: Mapping[str, bytes]) -> Iterator[HubServer]:
    """A hub that runs, on a free port of this machine."""
    with HubServer(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()

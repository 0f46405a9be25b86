"""A real llama.cpp for tests, serving a folder that ``iaa export --to gguf`` wrote.

There are two servers: llama.cpp's own ``llama-server``, and the one of llama-cpp-python around the same library.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

START_SECONDS = 120
CONTEXT = "2048"
NO_LLAMA_SERVER = (
    "NO LLAMA-SERVER WAS FOUND, so GGUF files are not run in it: set IAA_LLAMA_SERVER to the program of llama.cpp, or "
    "put it on the path."
)
NO_LLAMA_CPP_PYTHON = (
    "NO LLAMA-CPP-PYTHON WAS FOUND, so GGUF files are not run in it: set IAA_LLAMA_CPP to a Python that has "
    "'llama-cpp-python[server]', or install that here."
)


def python() -> str:
    """The interpreter that has llama-cpp-python: what IAA_LLAMA_CPP says, or this one."""
    return os.environ.get("IAA_LLAMA_CPP") or sys.executable


def llama_server() -> str | None:
    """llama.cpp's own server: what IAA_LLAMA_SERVER says, or the one on the path."""
    return shutil.which(os.environ.get("IAA_LLAMA_SERVER") or "llama-server")


@cache
def has_llama_cpp_python() -> bool:
    """Whether the interpreter has the server."""
    wanted = "import importlib.util as u; print(all(map(u.find_spec, ('llama_cpp', 'uvicorn', 'sse_starlette'))))"
    try:
        return subprocess.run([python(), "-c", wanted], capture_output=True, text=True).stdout.strip() == "True"
    except OSError:
        return False


LLAMA_CPPS = [
    pytest.param("llama-cpp-python", marks=pytest.mark.skipif(not has_llama_cpp_python(), reason=NO_LLAMA_CPP_PYTHON)),
    pytest.param("llama-server", marks=pytest.mark.skipif(llama_server() is None, reason=NO_LLAMA_SERVER)),
]
"""The two servers, as parameters of a test."""


@contextmanager
def serving(folder: Path, eye: str | None = None, server: str = "llama-cpp-python") -> Iterator[str]:
    """Serves a folder's model; gives the address.

    Args:
        folder: what was exported.
        eye: how the name of the tower's file begins.
        server: one of the two.

    Raises:
        RuntimeError: it does not come up; shows the end of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*_command(folder, eye, server), "--port", str(port)]
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ours)
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}", folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _command(folder: Path, eye: str | None, server: str) -> list[str]:
    (model,) = folder.glob("iaa-*.gguf")
    towers = list(folder.glob(f"{eye}-iaa-*.gguf"))
    if server == "llama-server":
        command = [
            str(llama_server()),
            "--model",
            str(model),
            "--ctx-size",
            CONTEXT,
            "--parallel",
            "1",
            "--threads",
            "1",
        ]
        return command + [part for tower in towers for part in ("--mmproj", str(tower))]
    command = [python(), "-m", "llama_cpp.server", "--model", str(model), "--n_ctx", CONTEXT]
    command += ["--n_threads", "1", "--n_threads_batch", "1"]
    return command + [part for tower in towers for part in ("--clip_model_path", str(tower), "--chat_format", "mtmd")]


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(START_SECONDS):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/v1/models", timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise RuntimeError(log.read_text(errors="replace")[-2000:])

"""A real llama.cpp for tests: the server of llama-cpp-python, serving a folder that ``iaa export --to gguf`` wrote."""

from __future__ import annotations

import os
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
NO_LLAMA_CPP = (
    "NO LLAMA.CPP WAS FOUND, so GGUF files are not run: set IAA_LLAMA_CPP to a Python that has "
    "'llama-cpp-python[server]', or install that here."
)


def python() -> str:
    """The interpreter: what IAA_LLAMA_CPP says, or this one."""
    return os.environ.get("IAA_LLAMA_CPP") or sys.executable


@cache
def is_there() -> bool:
    """Whether the interpreter has the server."""
    wanted = "import importlib.util as u; print(all(map(u.find_spec, ('llama_cpp', 'uvicorn', 'sse_starlette'))))"
    try:
        return subprocess.run([python(), "-c", wanted], capture_output=True, text=True).stdout.strip() == "True"
    except OSError:
        return False


needs_llama_cpp = pytest.mark.skipif(not is_there(), reason=NO_LLAMA_CPP)


@contextmanager
def serving(folder: Path, eye: str | None = None) -> Iterator[str]:
    """Serves a folder's model, with the tower's file whose name begins so; gives the address.

    Raises:
        RuntimeError: it does not come up; shows the end of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (model,) = folder.glob("iaa-*.gguf")
    command = [python(), "-m", "llama_cpp.server", "--model", str(model), "--port", str(port), "--n_ctx", "2048"]
    if eye is not None:
        (tower,) = folder.glob(f"{eye}-iaa-*.gguf")
        command += ["--clip_model_path", str(tower), "--chat_format", "mtmd"]
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ours)
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}", folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


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

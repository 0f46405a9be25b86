"""A real vLLM for tests: found on this machine, serving a folder that ``iaa export`` wrote."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 900
NO_VLLM = (
    "NO VLLM WAS FOUND, so exported tasks are not tested in it: set IAA_VLLM to its command, or put it on the PATH."
)


def find_vllm() -> list[str] | None:
    """The command: what IAA_VLLM says, or ``vllm`` on the path."""
    said = os.environ.get("IAA_VLLM")
    found = shutil.which("vllm")
    return shlex.split(said) if said else [found] if found else None


needs_vllm = pytest.mark.skipif(find_vllm() is None, reason=NO_VLLM)


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    """Serves a folder under its name, in 32 bit; gives the address.

    Raises:
        RuntimeError: it does not come up; shows the end of its log.
    """
    command = find_vllm()
    assert command is not None, NO_VLLM
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"]
    # A small model fills the room that JSON leaves for blanks with blanks, and comes to no end.
    settings += ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
    place = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", folder.name]
    ours = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "serve", str(folder), *settings, *place],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | ours,
        )
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    said = log.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"vLLM did not come up (exit status {process.poll()}):\n{said[-6000:]}")

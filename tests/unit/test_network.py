"""No network at import, nor at run unless a server or a download is asked for: Python tells of every connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REFUSING = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        raise RuntimeError(f"the network was asked for: {event} {arguments}")
sys.addaudithook(refuse)
"""
IMPORTS = """
import importlib, pkgutil, iaa_runtime
for module in pkgutil.walk_packages(iaa_runtime.__path__, "iaa_runtime."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
COMMAND = """
from iaa_runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(project: Path, folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that may not connect."""
    offline = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HTTP_PROXY")}
    return subprocess.run(
        [sys.executable, "-c", REFUSING + program, *words],
        cwd=folder,
        env=offline | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )


def test_nothing_connects_when_imported(project: Path, tmp_path: Path) -> None:
    done = run(project, tmp_path, IMPORTS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["demo", "--out", "scene"], ["info"], ["text", "--prompt", "Hello"]], ids="-".join)
def test_nothing_connects_when_run(project: Path, tmp_path: Path, words: list[str]) -> None:
    done = run(project, tmp_path, COMMAND, *words)
    assert done.returncode == 0, done.stderr


def test_a_server_that_is_asked_for_is_connected_to(project: Path, tmp_path: Path) -> None:
    done = run(project, tmp_path, COMMAND, "text", "--server", "http://127.0.0.1:9", "--prompt", "Hello")
    assert done.returncode == 1
    assert "the network was asked for" in done.stderr

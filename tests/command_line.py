"""Running the ``iaa`` command and reading what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW = ("--max-new-tokens", "4")
BOX = ("--max-new-tokens", "40")


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Stdout as JSON lines; fails where anything else stands there."""
    *lines, end = capsys.readouterr().out.split("\n")
    assert end == ""
    return [json.loads(line) for line in lines]


def run_module(project: Path, arguments: list[str], typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs ``python -m iaa_runtime`` in a process of its own."""
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "iaa_runtime", *arguments],
        input=typed,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )

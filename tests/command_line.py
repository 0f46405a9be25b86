"""Running the ``iaa`` command and reading what it prints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW = ("--max-new-tokens", "4")
BOX = ("--max-new-tokens", "40")

PICTURE, PHRASE = ("--image", "scene/scene.png"), ("--phrase", "the leftmost shape")
TWO = ("scene/scene.png", "scene/annotated.png")
SHARD, BRIEFLY = "shard-000000.jsonl", ("--steps", "2", "--batch", "1", "--rank", "2")
EVERY_COMMAND = {
    "demo": ["demo", "--seed", "26", "--out", "scene"],
    "caption": ["caption", *PICTURE, "--max-new-tokens", "8"],
    "ground": ["ground", *PICTURE, *PHRASE, "--draw", "b.png", "--mask", "m.png", "--crops", "c"],
    "label": ["label", *PICTURE, "--check"],
    "choose": ["choose", *PICTURE, "--question", "Is there a ring?", "--choice", "yes", "--choice", "no"],
    "text": ["text", "--prompt", "What is two plus three?", *FEW],
    "text in a format": ["text", "--prompt", "What is two plus three?", "--format", "[0-9]", *FEW],
    "chat": ["chat", *PICTURE],
    "convert": ["convert", "--precision", "int4", "--task", "G", "--out", "converted"],
    "info": ["info", "--model", "converted"],
    "ground with the converted one": ["ground", "--model", "converted", *PICTURE, *PHRASE],
    "annotate": ["annotate", "scene", "--caption", "--out", "job", "--coco", "coco.json", "--sidecars"],
    "annotate again": ["annotate", "scene", "--caption", "--out", "job"],
    "annotate with boxes": ["annotate", *TWO, "--caption", *PHRASE, "--out", "boxed", "--page", "look.html"],
    "track": ["track", f"boxed/{SHARD}"],
    "teach": ["teach", f"boxed/{SHARD}", "--images", ".", "--task", "MM", *BRIEFLY, "--out", "taught.safetensors"],
    "caption with what was taught": ["caption", *PICTURE, "--adaptor", "taught.safetensors:0.5", *FEW],
    "eval": ["eval", "shapes", "--scenes", "1"],
    "eval boxes": ["eval", "boxes", f"boxed/{SHARD}", "--images", "."],
    "export": ["export", "--task", "G", "--to", "llava", "--out", "exported"],
    "bench": ["bench", "--size", "tiny", "--repeats", "1", "--batch", "1", "--new-tokens", "4", "--out", "bench.json"],
}
"""The whole command line at work, in an empty folder, one behind the other; the demo makes the picture."""


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Stdout as JSON lines; fails where anything else stands there."""
    *lines, end = capsys.readouterr().out.split("\n")
    assert end == ""
    return [json.loads(line) for line in lines]


def pipe_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Has the next command read lines from standard input, as out of a pipe."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def run_where_nothing_can_be_written(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs ``iaa`` in a process whose files may not grow, as on a full disk. Not on Windows."""
    code = (
        "import resource, sys, tempfile\n"
        "tempfile.gettempdir()\n"  # which tries it out
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from iaa_runtime.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def run_module(project: Path, arguments: list[str], typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs ``python -m iaa_runtime`` in a process of its own."""
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "iaa_runtime", *arguments],
        input=typed,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )

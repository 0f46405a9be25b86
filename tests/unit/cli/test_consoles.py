"""Consoles of five encodings: no command fails over a character, and none prints another in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import EVERY_COMMAND
from PIL import Image

from iaa_runtime.cli import COMMANDS
from iaa_runtime.cli.output import PLAIN

ENCODINGS = ["cp1252", "cp936", "cp437", "ascii", "utf-8"]
NAME = "scène 图 √.png"
PROGRAM = """
import json, sys
from iaa_runtime.cli import main
for words in json.loads(sys.argv[1]):
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 0, (words, code)
"""


def shown(encoding: str, project: Path, folder: Path, commands: list[list[str]], typed: str = "") -> str:
    """What a console of the encoding shows of the commands, run in one process; fails where one of them does."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(project), "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"},
        input=typed.encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    text = (done.stdout + done.stderr).decode(encoding)
    strange = {c for c in text if not c.isascii()} - set(PLAIN) - set(NAME)
    assert not strange, f"{strange} in {text}"
    return text


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command(encoding: str, project: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / NAME)
    assert set(COMMANDS) <= set(EVERY_COMMAND)
    named = [
        ["caption", "--image", NAME, "--max-new-tokens", "4"],
        ["ground", "--image", NAME, "--phrase", "the scène → 图", "--max-new-tokens", "40"],
    ]
    commands = [*EVERY_COMMAND.values(), *named, *([*words, "--json"] for words in named)]
    text = shown(encoding, project, tmp_path, commands, f"/image {NAME}\n")
    assert ("60×40" if encoding in ("cp1252", "cp936", "utf-8") else "60x40") in text
    assert ("→ yes" if encoding in ("cp936", "utf-8") else "-> yes") in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [line["image"] for line in lines] == [NAME, NAME]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help(encoding: str, project: Path, tmp_path: Path) -> None:
    text = shown(encoding, project, tmp_path, [[name, "--help"] for name in COMMANDS])
    assert all(f"usage: iaa {name}" in text for name in COMMANDS)
    assert ("mps, ..." if encoding in ("cp437", "ascii") else "mps, …") in text


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="a terminal of Linux and macOS")
@pytest.mark.parametrize("encoding", ["cp936", "utf-8"])
def test_what_is_typed_is_read_as_the_console_writes_it(encoding: str, project: Path, tmp_path: Path) -> None:
    terminal, console = os.openpty()
    os.write(terminal, f"/image {NAME}\n/quit\n".encode(encoding))
    done = subprocess.run(
        [sys.executable, "-m", "iaa_runtime", "chat"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project), "PYTHONIOENCODING": encoding},
        stdin=console,
        capture_output=True,
    )
    os.close(console)
    os.close(terminal)
    assert done.returncode == 0
    assert NAME in done.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_is_ascii_where_it_cannot_be_utf_8(encoding: str, project: Path, tmp_path: Path) -> None:
    program = f"from iaa_runtime.cli.output import print_json; print_json({{'image': {NAME!r}}})"
    environment = os.environ | {"PYTHONPATH": str(project), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout.decode("ascii")) == {"image": NAME}

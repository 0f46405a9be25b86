"""Every command under what Windows refuses (``tests/like_windows``); simulated, on Linux alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import EVERY_COMMAND

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="simulated on Linux")


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["tmp_path", "blind_to_case"], ids=["open files", "open files, a disk without case"])
def test_every_command_runs(project: Path, tmp_path: Path, disk: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(disk)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    search = os.pathsep.join([str(project / "tests" / "like_windows"), str(project)])
    environment = os.environ | {"PYTHONPATH": search, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    for name, words in EVERY_COMMAND.items():
        done = subprocess.run(
            [sys.executable, "-m", "iaa_runtime", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert "could not be deleted" not in done.stderr, name
    assert (folder / "bench.json").stat().st_size > 0
    assert list(temporary.glob("iaa*")) == []


def test_it_does_refuse(project: Path, tmp_path: Path) -> None:
    program = """
import mmap, os, sys
held, free = sys.argv[1:]
with open(held, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
os.remove(free)
acts = [(os.remove, held), (os.replace, held, free), (open, free + ":1", "w"), (os.mkdir, "nul")]
for act, *arguments in acts:
    try:
        act(*arguments)
    except OSError as error:
        print(error.errno)
"""
    for name in ("held", "free"):
        (tmp_path / name).write_text("x" * 5000)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "held"), str(tmp_path / "free")],
        env=os.environ | {"PYTHONPATH": str(project / "tests" / "like_windows")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["13", "13", "22", "22"]

"""``iaa annotate`` over demo scenes, ended and killed, and under ``accelerate launch``: as one unbroken run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from launched import TWO_PROCESSES, workers

from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

IMAGES, SHARD_SIZE = 300, 10
PATIENCE = 300
"""Seconds for what takes a few on an idle machine."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 scenes of the demo, one file broken."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        draw_scene(make_scene(EVALUATION_SEED + number, long_side=96)).save(folder / f"{number:03}.png")
    (folder / "123.png").write_bytes(b"broken")
    return folder


def command(pictures: Path, out: Path) -> list[str]:
    asked = [
        "--caption",
        "--phrase",
        "the circle",
        "--threshold",
        "0",
        "--one",
        "--max-new-tokens",
        "24",
        "--batch",
        "5",
    ]
    place = ["--out", str(out), "--shard-size", str(SHARD_SIZE), "--device", "cpu"]
    return ["-m", "iaa_runtime", "annotate", str(pictures), *asked, *place]


def environment() -> dict[str, str]:
    """One thread a process, as launchers set it: sums in another order would differ in the last digit."""
    return os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def run(words: list[str], project: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=project, env=environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def unbroken(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's folder after one run from start to end."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    run(command(pictures, out), Path(__file__).parents[3])
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shards(out: Path) -> int:
    return len(list(out.glob("shard-*"))) if out.exists() else 0


def end_after(words: list[str], out: Path, more: int, delay: float, sent: signal.Signals, project: Path) -> None:
    """Starts the job and sends a signal ``delay`` seconds after it has finished ``more`` shards."""
    wanted = shards(out) + more
    process = subprocess.Popen(
        [sys.executable, *words], cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + PATIENCE
    while shards(out) < wanted:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(sent)
    assert process.wait(PATIENCE) == (-signal.SIGKILL if sent is signal.SIGKILL else 130)


@pytest.mark.slow
def test_five_ends_leave_no_trace(pictures: Path, unbroken: Path, tmp_path: Path, project: Path) -> None:
    out = tmp_path / "out"
    words = command(pictures, out)
    draw = random.Random(7)
    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        end_after(words, out, draw.randint(1, 4), draw.uniform(0, 0.1), sent, project)
    before = shards(out)
    assert 5 <= before < IMAGES // SHARD_SIZE
    said = run(words, project)
    kept = int(re.findall(r"(\d+) of 300 images are there", said)[0])
    assert before * SHARD_SIZE <= kept < (before + 1) * SHARD_SIZE
    assert contents(out) == contents(unbroken)
    lines = [line for path in sorted(out.glob("shard-*")) for line in path.read_text(encoding="utf-8").splitlines()]
    records = [json.loads(line) for line in lines]
    assert [record["image"] for record in records] == [str(pictures / f"{number:03}.png") for number in range(IMAGES)]
    assert Counter("error" in record for record in records) == {False: 299, True: 1}
    assert all(record["caption"] is not None and record["detections"] for record in records if "error" not in record)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a launcher's processes are found in /proc")
def test_two_processes_one_of_them_killed_write_what_one_does(
    pictures: Path, unbroken: Path, tmp_path: Path, project: Path
) -> None:
    pytest.importorskip("accelerate")
    out = tmp_path / "out"
    words = [*TWO_PROCESSES, *command(pictures, out)]
    with subprocess.Popen(
        [sys.executable, *words], cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as launcher:
        deadline = time.monotonic() + PATIENCE
        while shards(out) < 6:
            assert launcher.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        both = workers(launcher.pid)
        assert len(both) == 2
        os.kill(both[1], signal.SIGKILL)
        assert launcher.wait(60) != 0
    assert 6 <= shards(out) < IMAGES // SHARD_SIZE
    assert "300 of 300 images" in run(words, project)
    assert contents(out) == contents(unbroken)

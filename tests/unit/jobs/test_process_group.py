"""Finding the other processes; the launch itself is shown with ``iaa annotate``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launched import TWO_PROCESSES

from iaa_runtime.errors import InputError
from iaa_runtime.jobs.process_group import ProcessGroup, join_process_group, launched_processes

SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)


def test_a_lone_process_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    group = join_process_group()
    assert group == ProcessGroup(0, 1, "")
    assert group.is_main
    group.barrier()
    group.leave()


@pytest.mark.parametrize("name", SIZES)
def test_launchers_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    assert launched_processes() == 3
    monkeypatch.setenv(name, "")
    assert launched_processes() == 1


def test_accelerate_that_is_absent_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match="2 processes were launched, but accelerate"):
        join_process_group()


WAITING = """
import pathlib, sys, time
from iaa_runtime.cli.failures import ended_like_ctrl_c
from iaa_runtime.jobs.process_group import join_process_group
group = join_process_group("cpu")
here = pathlib.Path(sys.argv[1])
try:
    with ended_like_ctrl_c():
        group.barrier()
        (here / f"{group.rank}").touch()
        time.sleep(600 if group.is_main else 0)
        group.barrier()
except KeyboardInterrupt:
    (here / f"{group.rank} ended").touch()
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal elsewhere")
def test_a_process_that_waits_for_the_others_hears_a_signal(tmp_path: Path, project: Path) -> None:
    pytest.importorskip("accelerate")
    (tmp_path / "waiting.py").write_text(WAITING)
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *TWO_PROCESSES, str(tmp_path / "waiting.py"), str(tmp_path)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
        deadline = time.monotonic() + 120
        while not (tmp_path / "0").exists() or not (tmp_path / "1").exists():
            assert launcher.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(25) != 0  # after 30 s the launcher would kill
    assert (tmp_path / "0 ended").exists() and (tmp_path / "1 ended").exists()

"""Finding the other processes; the launch itself is shown with ``iaa annotate``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

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


JOINING = """
import sys
from datetime import timedelta
from iaa_runtime.cli.failures import ended_like_ctrl_c
from iaa_runtime.errors import InputError
from iaa_runtime.jobs import process_group
process_group.JOINING = timedelta(seconds=float(sys.argv[1]))
try:
    with ended_like_ctrl_c():
        process_group.join_process_group(sys.argv[2])
except InputError as error:
    print(error)
"""


def joining(seconds: float, device: str, project: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that joins others, of whom there are none."""
    given = {k: v for k, v in os.environ.items() if k not in (*SIZES, "RANK", "LOCAL_RANK", "MASTER_ADDR")}
    given |= {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"} | environment
    words = [sys.executable, "-c", JOINING, str(seconds), device]
    return subprocess.Popen(words, env=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as calling:
        return calling.connect_ex(("127.0.0.1", port)) == 0


def torchrun(port: int) -> dict[str, str]:
    """What torchrun tells the first of two processes."""
    names = {"WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()}


def test_others_that_never_come_are_told_of(project: Path) -> None:
    pytest.importorskip("accelerate")
    port = free_port()
    with joining(2, "cpu", project, **torchrun(port)) as process:
        said, _ = process.communicate(timeout=120)
    assert f"2 processes were launched, and did not find each other at 127.0.0.1:{port}" in said


def test_processes_without_an_address_are_told_what_to_do(project: Path) -> None:
    """As mpirun starts them, which says who they are and not where they meet."""
    pytest.importorskip("accelerate")
    with joining(2, "cpu", project, OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1") as process:
        said, _ = process.communicate(timeout=120)
    assert "2 processes were launched" in said and "with accelerate launch or torchrun" in said


def test_a_process_that_accelerate_takes_for_the_only_one_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write the same files as the others. Where there is a GPU, accelerate asks for ``LOCAL_RANK``."""
    accelerate = pytest.importorskip("accelerate")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(accelerate, "PartialState", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(InputError, match="2 processes were launched, of which accelerate finds 1"):
        join_process_group("cpu")


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals elsewhere")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_waits_for_others_to_come(number: signal.Signals, project: Path) -> None:
    pytest.importorskip("accelerate")
    port = free_port()
    with joining(600, "cpu", project, **torchrun(port)) as process:
        deadline = time.monotonic() + 120
        while not listens(port):  # the first one does while it waits
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(10) == -number

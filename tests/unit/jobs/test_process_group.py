"""Finding the other processes; the launch itself is shown with ``iaa annotate``."""

from __future__ import annotations

import sys

import pytest

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

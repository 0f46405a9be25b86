"""A file is held by one run at a time, and by none that was killed."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.jobs import lock
from iaa_runtime.jobs.lock import held

HOLDER = """
import pathlib, sys, time
from iaa_runtime.jobs.lock import held

with held(pathlib.Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_run_at_a_time_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "no"):
        for _ in range(2):
            with pytest.raises(InputError, match=r"^no$"), held(path, "no"):
                pass
        assert path.exists()
    assert not path.exists()
    with pytest.raises(KeyError), held(path, "no"):
        raise KeyError
    assert not path.exists()


def test_what_a_killed_process_held_is_free(tmp_path: Path, project: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, cwd=project)
    assert holder.stdout is not None and holder.stdout.readline().strip() == b"held"
    with pytest.raises(InputError, match=r"^no$"), held(path, "no"):
        pass
    holder.kill()
    holder.communicate()
    assert path.exists()
    with held(path, "no"):
        pass


def test_a_disk_that_knows_no_locks_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refuse)
    with held(tmp_path / "lock", "no"), held(tmp_path / "lock", "no"):
        pass


def test_a_place_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lock cannot be written"), held(tmp_path / "none" / "lock", "no"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there a file that is open is not removed")
def test_a_file_that_its_holder_removed_holds_nobody_back_and_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run opened it before it was removed: it holds the one that lies there, as a third run finds out."""
    path, lock_file = tmp_path / "lock", lock._lock
    first = held(path, "no")
    first.__enter__()

    def after_the_first(file: int) -> None:
        monkeypatch.setattr(lock, "_lock", lock_file)
        first.__exit__(None, None, None)
        lock_file(file)

    monkeypatch.setattr(lock, "_lock", after_the_first)
    with held(path, "no"):
        assert path.exists()
        with pytest.raises(InputError, match=r"^no$"), held(path, "no"):
            pass
    assert not path.exists()

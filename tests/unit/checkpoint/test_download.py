"""Downloads: only when asked for, and at once a plain word where they cannot be done."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from hub_server import COMMIT, HubServer, ask_it, forget_sessions, serving_hub
from huggingface_hub import constants
from make_checkpoint import make_checkpoint

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint import download
from iaa_runtime.checkpoint.download import PUBLISHED_REPOSITORY, PUBLISHED_REVISION, fetch, free_bytes
from iaa_runtime.errors import Cancelled, CheckpointError, DownloadError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty hub cache, and no way to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for anything."""
    monkeypatch.setattr(download, "free_bytes", lambda folder: 1 << 40)


def test_nothing_is_downloaded_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("a download was started"))
    with pytest.raises(CheckpointError, match=PUBLISHED_REPOSITORY):
        IAAModel.from_pretrained(PUBLISHED_REPOSITORY)


def test_a_checkpoint_that_is_here_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("a download was started"))
    model = IAAModel.from_pretrained(make_checkpoint(tmp_path / "checkpoint"), download=True)
    assert model(torch.tensor([[1]]), task="Text").shape == (1, 1, 384)


@pytest.mark.usefixtures("offline", "roomy")
def test_offline_it_says_so_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=rf"hub cannot be reached and {PUBLISHED_REPOSITORY} is not") as caught:
        IAAModel.from_pretrained(PUBLISHED_REPOSITORY, download=True)
    assert "HF_HUB_OFFLINE" in str(caught.value)
    assert time.monotonic() - begin < 5


def test_a_hub_that_does_not_answer_is_offline_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Port 9 of this machine: nothing listens there, and the refusal comes at once.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub._snapshot_download.HfApi", lambda **options: huggingface_hub.HfApi("http://127.0.0.1:9")
    )
    begin = time.monotonic()
    with pytest.raises(DownloadError, match="hub cannot be reached"):
        fetch("someone/something")
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("offline")
def test_what_is_in_the_hubs_cache_is_used_offline(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--someone--something"
    made = make_checkpoint(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert fetch("someone/something") == made
    assert IAAModel.from_pretrained("someone/something", download=True).config.hidden_size == 32


@pytest.mark.usefixtures("offline")
def test_a_name_that_is_no_repository() -> None:
    with pytest.raises(DownloadError, match="no/such/thing"):
        fetch("no/such/thing")


def test_without_huggingface_hub_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DownloadError, match="pip install huggingface_hub"):
        fetch("someone/something")


def asked(monkeypatch: pytest.MonkeyPatch, repository: str, **options: Any) -> dict[str, Any]:
    """What the hub's library is asked for."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **given: seen.update(given) or "there")
    assert fetch(repository, **options) == Path("there")
    return seen


@pytest.mark.usefixtures("roomy")
def test_the_published_repository_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, PUBLISHED_REPOSITORY)["revision"] == PUBLISHED_REVISION
    assert asked(monkeypatch, PUBLISHED_REPOSITORY, revision="main")["revision"] == "main"
    assert asked(monkeypatch, "someone/something")["revision"] is None


@pytest.mark.usefixtures("roomy")
def test_neither_code_nor_what_leads_elsewhere_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import filter_repo_objects

    seen = asked(monkeypatch, PUBLISHED_REPOSITORY)
    files = [
        "config.json",
        "model-00001-of-00007.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "modeling_iaa.py",
        "tokenizer_iaa.py",
        "README.md",
        "C:\\config.json",
        "D:model.safetensors",
        "\\\\a.share\\on\\config.json",
        "/etc/config.json",
        "clip\\..\\..\\config.json",
        "config.json:hidden.json",
    ]
    patterns = {name: seen[name] for name in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects(files, **patterns)) == files[:4]


@pytest.mark.parametrize("by_cache", [True, False])
def test_too_little_disk_is_refused_before_the_first_byte(
    by_cache: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("a download was started"))
    monkeypatch.setattr(download, "free_bytes", lambda folder: 10_000_000_000)
    here = tmp_path / f"models--{PUBLISHED_REPOSITORY.replace('/', '--')}" if by_cache else tmp_path / "a" / "b"
    with pytest.raises(DownloadError, match=r"33\.2 GB of it are missing in .*10\.0 GB free. Make room") as caught:
        fetch(PUBLISHED_REPOSITORY, folder=None if by_cache else here)
    assert str(here) in str(caught.value)
    here.mkdir(parents=True)
    with (here / "part").open("wb") as part:
        part.truncate(23_000_000_000)  # takes no room itself
    with pytest.raises(DownloadError, match=r"10\.2 GB of it are missing"):
        fetch(PUBLISHED_REPOSITORY, folder=None if by_cache else here)
    with (here / "part").open("wb") as part:
        part.truncate(24_000_000_000)
    assert asked(monkeypatch, PUBLISHED_REPOSITORY, folder=None if by_cache else here), "what is here needs no room"


def test_the_room_is_that_of_the_folders_disk(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_disk_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a drive of Windows: nothing is at its root."""
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(DownloadError, match=rf"There is no disk for {re.escape(str(tmp_path))}: nothing is at"):
        free_bytes(tmp_path)


SHARDS = [f"model-{number}.safetensors" for number in range(3)]
FILES = {"config.json": b"{}", "model.py": b"", **dict.fromkeys(SHARDS, bytes(6 << 20)), "tokenizer.json": b"{}"}


COUNTS_BYTES = "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters
"""Whether the library tells of a file before it is complete; 0.36, which transformers 4.57 brings, does not."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with a repository ``someone/something``, whose library asks it in small pieces and tries again at once."""
    with serving_hub(FILES) as server:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 20)
        monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        ask_it(server, tmp_path / "hub", monkeypatch)
        yield server
        forget_sessions()


def test_file_by_file_a_checkpoint_is_whole(hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert fetch("someone/something", COMMIT, folder, cancelled=lambda: False) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == {
        name: content for name, content in FILES.items() if name != "model.py"
    }
    assert not [path for path in hub.asked if "xet" in path], "whose library hears no Cancel"
    assert constants.HF_HUB_DISABLE_XET is False, "others may use it again"
    cached = fetch("someone/something", cancelled=lambda: False)
    assert tmp_path / "hub" in cached.parents and {"config.json", *SHARDS} <= {path.name for path in cached.iterdir()}


def test_cancel_ends_a_download_before_the_next_file_and_mostly_in_the_middle_of_one(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.pause = 0.02
    with pytest.raises(Cancelled):
        fetch("someone/something", COMMIT, tmp_path / "here", cancelled=lambda: hub.sent > 8 << 20)
    assert hub.sent < (12 << 20) + (not COUNTS_BYTES) * 100, "the second of the shards was not read to its end"
    assert not [path for path in hub.asked if SHARDS[2] in path], "nor was the third begun"
    assert constants.HF_HUB_DISABLE_XET is False
    sent = hub.sent
    fetch("someone/something", COMMIT, tmp_path / "here", cancelled=lambda: False)
    assert hub.sent - sent < 13 << 20, "the first is not fetched again"


@pytest.mark.parametrize("cancelled", [None, lambda: False], ids=["all at once", "file by file"])
def test_a_download_that_breaks_off_goes_on_when_it_is_run_again(
    hub: HubServer, cancelled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hf_xet out of the way, which has no server here."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.breaks[SHARDS[1]] = 3 << 20
    with pytest.raises(DownloadError, match=r"failed: .* Check the name and the network, and run it again") as caught:
        fetch("someone/something", COMMIT, tmp_path / "here", cancelled)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "here" / SHARDS[0]).stat().st_size == 6 << 20
    assert not (tmp_path / "here" / "config.json").exists() or cancelled is None, "a part is no checkpoint"
    hub.breaks.clear()
    hub.asked.clear()
    fetch("someone/something", COMMIT, tmp_path / "here", cancelled)
    assert not [path for path in hub.asked if SHARDS[0] in path and path in hub.asked[hub.asked.index(path) + 1 :]]
    assert (tmp_path / "here" / "config.json").exists() and (tmp_path / "here" / "tokenizer.json").exists()


@pytest.mark.parametrize("error", [RuntimeError("Data processing error:\n CAS service error."), AssertionError()])
def test_whatever_the_library_raises_is_a_download_that_failed(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    reason = "Data processing error: CAS service error" if str(error) else "AssertionError"
    with pytest.raises(DownloadError, match=f"someone/something failed: {reason}. Check .* files that are complete"):
        fetch("someone/something")


def test_ctrl_c_is_no_download_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface_hub, "snapshot_download", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("someone/something")


def test_a_repository_of_other_things_is_told(hub: HubServer, tmp_path: Path) -> None:
    hub.files = {"README.md": b"A poem.", "model.py": b""}
    with pytest.raises(DownloadError, match="someone/something holds nothing that belongs to a checkpoint"):
        fetch("someone/something", COMMIT, tmp_path / "here", cancelled=lambda: False)


def test_a_name_with_signs_of_patterns_is_one_name(hub: HubServer, tmp_path: Path) -> None:
    hub.files = {"a[1].json": b"{}", "a1.json": b"{}"}
    fetch("someone/something", COMMIT, tmp_path / "here", cancelled=lambda: False)
    assert sorted(path.name for path in (tmp_path / "here").glob("*.json")) == ["a1.json", "a[1].json"]


def test_the_part_that_is_there_grows_to_all_of_it(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked all the time, over several shards, and from where an earlier download ended."""
    monkeypatch.setattr(download, "PUBLISHED_BYTES", 18 << 20)
    folder, over, hub.pause = tmp_path / "here", threading.Event(), 0.02
    parts = [download.part_fetched(folder)]

    def watch() -> None:
        while not over.wait(0.005):
            parts.append(download.part_fetched(folder))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        fetch("someone/something", COMMIT, folder, cancelled=lambda: False)
    finally:
        over.set()
        watching.join()
    assert parts[0] == 0 and parts == sorted(parts) and len(set(parts)) > 8
    assert download.part_fetched(folder) == 1
    (folder / SHARDS[2]).unlink()
    assert 0.66 < download.part_fetched(folder) < 0.67, "where a next download begins"


def test_a_file_that_is_renamed_meanwhile_counts_for_nothing(tmp_path: Path) -> None:
    assert download._size(tmp_path / "gone.incomplete") == 0
    assert download._size(tmp_path) == 0


def test_what_a_program_stops_by_is_no_download_that_failed(hub: HubServer, tmp_path: Path) -> None:
    class InterruptError(Exception):
        pass

    def stop() -> bool:
        raise InterruptError

    with pytest.raises(InterruptError):
        fetch("someone/something", folder=tmp_path / "here", cancelled=stop)


def test_a_file_that_is_passed_over_is_told(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of the library give out the folder as it is where the hub does not answer for a moment."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **options: str(tmp_path / "here"))
    with pytest.raises(DownloadError, match=r"did not come\. Check the network"):
        fetch("someone/something", folder=tmp_path / "here", cancelled=lambda: False)

"""Downloads: only when asked for, and at once a plain word where they cannot be done."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from make_checkpoint import make_checkpoint

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint import download
from iaa_runtime.checkpoint.download import PUBLISHED_REPOSITORY, PUBLISHED_REVISION, fetch, free_bytes
from iaa_runtime.errors import CheckpointError, DownloadError


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
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **given: seen.update(given) or "there")
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


def test_progress_is_reported_as_a_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[float] = []
    bar = asked(monkeypatch, "someone/something", progress=parts.append)["tqdm_class"]
    with bar(total=200, unit="B", unit_scale=True) as shown:
        shown.update(50)
        shown.update(150)
    assert parts == [0.25, 1.0]

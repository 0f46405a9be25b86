"""Fetching a checkpoint from the Hugging Face hub, only when asked to."""

from __future__ import annotations

import glob
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..errors import Cancel, Cancelled, DownloadError, IAAError, check_cancelled
from ..text.printable import unguarded

PUBLISHED_REPOSITORY = "qihoo360/Inner-Adaptor-Architecture"
PUBLISHED_REVISION = "ed8ecf26450df9b4a832812dbb9462aa2492ce67"
PUBLISHED_BYTES = 33_200_000_000
"""Of its files: seven shards of 4.98, 5.00, 4.92, 4.98, 4.98, 4.99 and 3.33 GB, and a tokenizer."""
PUBLISHED_TERMS = (
    "Its weights contain Meta's Llama 3, so the Meta Llama 3 Community License "
    "(https://www.llama.com/llama3/license/) applies, and the data they were trained on has terms of its own."
)
PATTERNS = ("*.safetensors", "*.json", "tokenizer*", "*.model")
"""What a checkpoint needs."""
NEVER = ("*.py", "*:*", "*..*", "[/\\\\]*")
"""Python files, of which ``tokenizer*`` would let some through, and names that leave the folder on some system."""

_xet_is_off = threading.Lock()
"""Held by the download that has switched Xet off, which switches it on again: one at a time."""


def fetch(
    repository: str, revision: str | None = None, folder: str | Path | None = None, cancelled: Cancel = None
) -> Path:
    """Downloads a checkpoint and returns its folder. Files that are complete are kept, whatever becomes of the others.

    Args:
        repository: ``owner/name`` on the hub.
        revision: commit, tag or branch; the published repository is pinned when None.
        folder: where to put it; the hub's cache when None.
        cancelled: True ends the download: when the next bytes come, or, of a huggingface_hub that does not tell of them
            (as 0.36 and 1.0), when the file at hand is complete. Asked from other threads. None shows bars on stderr.

    Raises:
        Cancelled: ``cancelled`` returned True.
        DownloadError: huggingface_hub is missing, there is no network, the repository is not there, the download broke
            off, or, of the published one, the disk has too little room.
    """
    try:
        from huggingface_hub import constants
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        raise DownloadError(
            f"Downloading {repository} needs the package huggingface_hub: pip install huggingface_hub. Or fetch the "
            "repository by hand and give its folder."
        ) from None
    if repository == PUBLISHED_REPOSITORY:
        cache = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")
        check_room(cache if folder is None else Path(folder))
        revision = revision or PUBLISHED_REVISION
    raised: list[Exception] = []

    def is_cancelled() -> bool:
        try:
            return cancelled is not None and bool(cancelled())
        except Exception as error:
            raised.append(error)
            raise

    asked: dict[str, Any] = {"repo_id": repository, "revision": revision, "local_dir": folder}
    try:
        return Path(_all_at_once(asked) if cancelled is None else _one_by_one(asked, is_cancelled))
    except (IAAError, Cancelled):
        raise
    except LocalEntryNotFoundError as error:
        raise DownloadError(
            f"The hub cannot be reached and {repository} is not in its local cache. Check the network "
            "(HF_HUB_OFFLINE, HF_ENDPOINT) and run it again (files that are complete are kept), or copy the checkpoint "
            f"here and give its folder. ({error})"
        ) from error
    except Exception as error:  # of the hub's library, of whichever HTTP library its version has, or of Xet's
        if raised:  # what the program itself stops by
            raise raised[0] from None
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DownloadError(
            f"Downloading {repository} failed: {reason}. Check the name and the network, and run it again: files that "
            "are complete are kept."
        ) from error


def check_room(folder: Path) -> None:
    """Raises :class:`DownloadError` where what a folder lacks of the published repository is more than its disk has."""
    missing, free = PUBLISHED_BYTES - _bytes_in(folder), free_bytes(folder)
    if missing > free:
        raise DownloadError(
            f"{PUBLISHED_REPOSITORY} was not fetched: {missing / 1e9:.1f} GB of it are missing in {folder}, whose disk "
            f"has {free / 1e9:.1f} GB free. Make room there, or link the folder to another disk, and run it again."
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not be there yet.

    Raises:
        DownloadError: there is no such disk, as of a drive of Windows that is not connected.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if there is None:
        raise DownloadError(f"There is no disk for {folder}: nothing is at {folder.absolute().anchor}. Check the name.")
    return shutil.disk_usage(there).free


def part_fetched(folder: Path) -> float:
    """The part of the published repository that is in a folder, 0 to 1; asked while it is fetched.

    The hub's library counts otherwise from version to version: files, what each of them has begun, bytes twice. The
    disk does not.
    """
    return min(1.0, _bytes_in(folder) / PUBLISHED_BYTES)


def _bytes_in(folder: Path) -> int:
    return sum(map(_size, folder.rglob("*")))


def _size(path: Path) -> int:
    """Bytes of a regular file; 0 of anything else, also of what was renamed a moment ago since it is complete."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _all_at_once(asked: dict[str, Any]) -> str:
    from huggingface_hub import snapshot_download

    with redirect_stderr(unguarded(sys.stderr)):  # bars go back to the start of their line
        return str(snapshot_download(**asked, allow_patterns=list(PATTERNS), ignore_patterns=list(NEVER)))


def _one_by_one(asked: dict[str, Any], cancelled: Cancel) -> str:
    """Fetches file after file: of several at once, the hub's library ends none before all are complete.

    The last one is config.json: without it, nothing takes the folder for a checkpoint, and the next run goes on.
    """
    from huggingface_hub import HfApi, snapshot_download

    path = ""
    with _without_xet():
        names = HfApi().list_repo_files(asked["repo_id"], revision=asked["revision"])
        for name in sorted(names, key=lambda name: (name == "config.json", name)):
            check_cancelled(cancelled)
            if _is_wanted(name):
                only = asked | {"allow_patterns": [glob.escape(name)], "ignore_patterns": list(NEVER)}
                path = str(snapshot_download(**only, tqdm_class=_listening_bar(cancelled)))
                if not Path(path, name).is_file():  # some versions pass over a hub that gives no answer
                    raise DownloadError(
                        f"{name} of {asked['repo_id']} did not come. Check the network, and run it again: files that "
                        "are complete are kept."
                    )
    if not path:
        raise DownloadError(f"{asked['repo_id']} holds nothing that belongs to a checkpoint. Check its name.")
    return path


def _is_wanted(name: str) -> bool:
    of, never = (any(fnmatch(name, pattern) for pattern in patterns) for patterns in (PATTERNS, NEVER))
    return of and not never


@contextmanager
def _without_xet() -> Iterator[None]:
    """Has the hub's library fetch by HTTP, since Xet's own swallows what a bar raises and goes on."""
    from huggingface_hub import constants

    with _xet_is_off:
        before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_XET = before


def _listening_bar(cancelled: Cancel) -> type[Any]:
    """A progress bar that draws nothing, and asks ``cancelled`` whenever bytes are counted."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, name: str = "", **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})  # name is of the hub's own bars alone
            self.counts_bytes = kwargs.get("unit") == "B"

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts_bytes:  # from a bar of files, some versions let no exception through
                check_cancelled(cancelled)
            shown: bool | None = super().update(n)
            return shown

    return Bar

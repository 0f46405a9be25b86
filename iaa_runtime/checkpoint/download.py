"""Fetching a checkpoint from the Hugging Face hub, only when asked to."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from ..errors import DownloadError
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


def fetch(
    repository: str,
    revision: str | None = None,
    folder: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Downloads a checkpoint and returns its folder. Interrupted downloads resume.

    Args:
        repository: ``owner/name`` on the hub.
        revision: commit, tag or branch; the published repository is pinned when None.
        folder: where to put it; the hub's cache when None.
        progress: called from other threads with the part done, 0 to 1; what it raises ends the download. None shows
            bars on stderr.

    Raises:
        DownloadError: huggingface_hub is missing, there is no network, the repository is not there, or, of the
            published one, the disk has too little room.
    """
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise DownloadError(
            f"Downloading {repository} needs the package huggingface_hub: pip install huggingface_hub. Or fetch the "
            "repository by hand and give its folder."
        ) from None
    if repository == PUBLISHED_REPOSITORY:
        cache = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")
        check_room(cache if folder is None else Path(folder))
        revision = revision or PUBLISHED_REVISION
    options: dict[str, Any] = {"tqdm_class": _reporting_bar(progress), "max_workers": 1} if progress else {}
    try:
        with redirect_stderr(unguarded(sys.stderr)):  # bars go back to the start of their line
            path = snapshot_download(
                repository,
                revision=revision,
                local_dir=folder,
                allow_patterns=list(PATTERNS),
                ignore_patterns=list(NEVER),
                **options,
            )
    except LocalEntryNotFoundError as error:
        raise DownloadError(
            f"The hub cannot be reached and {repository} is not in its local cache. Check the network "
            f"(HF_HUB_OFFLINE, HF_ENDPOINT), or copy the checkpoint here and give its folder. ({error})"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise DownloadError(f"Downloading {repository} failed: {error}. Run it again to resume.") from error
    return Path(path)


def check_room(folder: Path) -> None:
    """Raises :class:`DownloadError` where what a folder lacks of the published repository is more than its disk has."""
    here = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    missing, free = PUBLISHED_BYTES - here, free_bytes(folder)
    if missing > free:
        raise DownloadError(
            f"{PUBLISHED_REPOSITORY} was not fetched: {missing / 1e9:.1f} GB of it are missing in {folder}, whose disk "
            f"has {free / 1e9:.1f} GB free. Make room there, or link the folder to another disk, and run it again."
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def _reporting_bar(progress: Callable[[float], None]) -> type[Any]:
    """A progress bar that draws nothing and reports: bytes where the hub's library counts them, else files."""
    from tqdm.auto import tqdm

    counts_bytes = False

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            nonlocal counts_bytes
            counts_bytes = counts_bytes or kwargs.get("unit") == "B"
            super().__init__(*args, **kwargs | {"file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.total and (self.unit == "B" or not counts_bytes):
                progress(min(1.0, self.n / self.total))
            return shown

    return Bar

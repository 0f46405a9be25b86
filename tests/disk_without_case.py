"""A disk that sees no case, as those of Windows and macOS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def without_case(near: Path) -> Iterator[Path]:
    """A folder on a disk that sees no case: ``near`` itself, or an image of NTFS there; skips where neither is."""
    if ignores_case(near):
        yield near
        return
    image, folder = near / "disk", near / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    try:
        subprocess.run(["mkntfs", "-F", "-Q", "-q", image], check=True, capture_output=True)
        subprocess.run(
            ["lowntfs-3g", "-o", "ignore_case,windows_names", image, folder], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: no disk here ignores case, and none can be mounted, which takes root and ntfs-3g.")
    try:
        assert ignores_case(folder)
        yield folder
    finally:
        subprocess.run([shutil.which("fusermount") or "umount", *["-u"] * bool(shutil.which("fusermount")), folder])


def ignores_case(folder: Path) -> bool:
    """Whether a folder's disk sees no case."""
    (folder / "case").touch()
    try:
        return (folder / "CASE").exists()
    finally:
        (folder / "case").unlink()

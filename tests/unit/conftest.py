"""What the tests of the command line run on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_checkpoint import Geometry, make_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "checkpoint"
    return str(make_checkpoint(folder, Geometry(context=600)))


@pytest.fixture(scope="module")
def photo(reference: Path) -> str:
    return str(reference / "readpanda.jpg")


@pytest.fixture
def blind_to_case(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that sees no case: the temporary one itself, or an image of NTFS that root mounts."""
    if ignores_case(tmp_path):
        yield tmp_path
        return
    image, folder = tmp_path / "disk", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    try:
        subprocess.run(["mkntfs", "-F", "-Q", "-q", image], check=True, capture_output=True)
        subprocess.run(["lowntfs-3g", "-o", "ignore_case", image, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: no disk here ignores case, and none can be mounted (root and ntfs-3g): {error}")
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

"""The one reader of small files: whatever lies under a file's name, it answers at once and holds little."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from iaa_runtime.config.small_files import DEEPEST, LARGEST, load_json, read_small
from iaa_runtime.errors import CheckpointError


def make(kind: str, file: Path) -> None:
    """Puts something that is no small JSON file under a name."""
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a folder":
        file.mkdir()
    elif kind == "a large file":
        file.touch()
        os.truncate(file, 1 << 40)
    else:
        file.symlink_to(kind)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a large file", "/dev/zero", "/dev/null"])
def test_what_is_no_small_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "config.json"
    make(kind, file)
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=r"no regular file|larger than 4 MB") as caught:
        load_json(file)
    assert time.monotonic() - begin < 1 and str(file) in str(caught.value)


def test_as_much_as_is_allowed_is_read(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    file.write_bytes(b"{}" + b" " * (LARGEST - 2))
    assert load_json(file) == {}
    assert read_small(file, LARGEST) == file.read_bytes()
    with pytest.raises(CheckpointError, match="larger than"):
        read_small(file, LARGEST - 1)


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 100_000])
def test_depth_is_limited(tmp_path: Path, depth: int) -> None:
    file = tmp_path / "deep.json"
    file.write_text('{"a": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(CheckpointError, match=r"levels deep|is not valid JSON"):
        load_json(file)
    file.write_text('{"a": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}")
    assert load_json(file)


def test_the_mark_that_windows_puts_first_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert load_json(tmp_path / "config.json") == {"a": 1}


@pytest.mark.parametrize("name", ["missing.json", "a\0b", "x" * 300, "file/inside.json"])
def test_names_of_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError):
        load_json(tmp_path / name)

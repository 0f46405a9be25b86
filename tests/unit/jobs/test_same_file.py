"""Whether two paths are one file: by the disk where it knows, else by names that differ in case or form alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from iaa_runtime.jobs.same_file import place, same_file, same_on_disk


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Photo.png", "PHOTO.PNG"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("\u00c9.png", "e\u0301.png"),
        ("new/folder/a.png", "NEW/Folder/A.png"),
        ("sub/../a.png", "a.png"),
        ("link/a.png", "sub/A.png"),
        ("link/new/a.png", "sub/new/a.png"),
    ],
)
def test_names_of_files_that_are_not_there(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    assert same_on_disk(tmp_path / first, tmp_path / second) is None
    assert same_file(tmp_path / first, tmp_path / second)
    assert place(tmp_path / first) == place(tmp_path / second)


@pytest.mark.parametrize(
    ("first", "second"), [("a.png", "b.png"), ("a.png", "sub/a.png"), ("\0", "a"), ("a" * 999, "a")]
)
def test_others_differ(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert not same_file(tmp_path / first, tmp_path / second)


def test_of_what_is_there_the_disk_knows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "A").write_text("A")
    assert same_file(tmp_path / "a", tmp_path / "A") == ((tmp_path / "a").read_text() == "A")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert same_file(tmp_path / "link", tmp_path / "a")
    assert place(tmp_path / "link") == place(tmp_path / "a")


def test_a_disk_without_case(blind_to_case: Path) -> None:
    (blind_to_case / "Folder").mkdir()
    (blind_to_case / "Folder" / "Photo.png").write_text("a")
    assert same_on_disk(blind_to_case / "folder" / "photo.PNG", blind_to_case / "Folder" / "Photo.png")
    assert place(blind_to_case / "folder" / "x") == place(blind_to_case / "Folder" / "X")

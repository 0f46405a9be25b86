"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.jobs.files import (
    json_line,
    numbered_jsonl,
    read_jsonl,
    read_text,
    write_atomically,
    write_bytes,
    write_jsonl,
)


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/a\.txt cannot be written \(No such file"):
        write_bytes(tmp_path / "absent" / "a.txt", b"")


def test_records_come_back_in_any_script_and_with_any_name(tmp_path: Path) -> None:
    records = [{"a": "Ünïcödé 猫"}, {"name": os.fsdecode(b"caf\xe9.jpg")}, {"line": "a\nb\u2028c"}]
    write_jsonl(tmp_path / "a.jsonl", records)
    assert list(read_jsonl(tmp_path / "a.jsonl")) == records
    assert "猫" in (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert json_line(records[1]).isascii()


def test_what_would_steer_a_terminal_is_escaped(tmp_path: Path) -> None:
    records = [{"a": "\x9b2J \u202e \x7f \x1b]0;x\x07"}]
    write_jsonl(tmp_path / "a.jsonl", records)
    assert list(read_jsonl(tmp_path / "a.jsonl")) == records
    assert (tmp_path / "a.jsonl").read_bytes().strip().decode().isprintable()


@pytest.mark.parametrize("name", ["n" * 255, "猫" * 85], ids=["ASCII", "three bytes each"])
def test_a_file_may_have_the_longest_name_there_is(name: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / name, b"whole")
    assert os.listdir(tmp_path) == [name]


def test_lines_are_counted_with_blank_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"a": 1}\n  \n{"a": 2}')
    assert list(numbered_jsonl(tmp_path / "a.jsonl")) == [(2, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'a': 1}", "line 1: not JSON"),
        (b'"a"', "line 1: str, not an"),
        (b"\xff", "line 1: not"),
        (b'{"a": ' + b"[" * 100_000, "line 1: not JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "line 1: not JSON"),
        (b'{"a": "' + b"x" * (1 << 24) + b'"}', "line 1: longer than 16777216 bytes"),
    ],
    ids=["quotes", "text", "bytes", "deep", "digits", "long"],
)
def test_a_bad_line_is_named(line: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line)
    with pytest.raises(InputError, match=message):
        list(read_jsonl(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_with_other_content_is_replaced_only_if_told(overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    write_bytes(path, b"old")  # the same is no conflict
    if overwrite:
        write_bytes(path, b"new", overwrite=True)
    else:
        with pytest.raises(InputError, match=r"a\.txt is there already\. .* --overwrite"):
            write_bytes(path, b"new")
    assert path.read_bytes() == (b"new" if overwrite else b"old")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_appears_while_one_writes_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def slowly(file: BinaryIO) -> None:
        file.write(b"ours")
        path.write_bytes(b"theirs")

    with pytest.raises(InputError, match="is there already"):
        write_atomically(path, slowly)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800.txt", "file/a.txt", ".."])
def test_names_that_no_file_can_have_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written|is a folder"):
        write_bytes(tmp_path / name, b"")
    assert os.listdir(tmp_path) == ["file"]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", ".", "a\0b", "x" * 300, "absent"):
        with pytest.raises(InputError, match="cannot be read"):
            list(read_jsonl(tmp_path / name))
        with pytest.raises(InputError, match="cannot be read"):
            read_text(tmp_path / name)


def test_a_text_is_read_whole_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(tmp_path / "a.txt") == "one\ntwo\n"
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_text(tmp_path / "a.txt")
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="larger than"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_named_as_such(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes('\ufeff{"image": "a.png"}\r\n{"image": "b.png"}\r\n'.encode(encoding))
    for read in (read_text, lambda path: list(read_jsonl(path))):
        with pytest.raises(InputError, match=r"list.jsonl is saved as UTF-16. Save it as UTF-8."):
            read(path)

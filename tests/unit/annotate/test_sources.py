"""Lists of pictures: from folders, patterns, files, JSON lines; in an order of their own, each once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.annotate import list_images
from iaa_runtime.annotate.sources import Listed, PassedOver
from iaa_runtime.errors import InputError


def names(*sources: Path | str, **options: Any) -> list[str]:
    return [row["image"] for row in list_images([str(source) for source in sources], **options)]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_is_sorted_and_hidden_files_are_left_out(photos: Path) -> None:
    assert names(photos) == [str(photos / name) for name in ("a.png", "b.jpg", "sub/c.webp")]


def test_what_is_passed_over_is_counted(photos: Path) -> None:
    """By its reason; other endings of formats that are read are pictures, too."""
    for name in ("notes.txt", "b.txt", "LICENSE", ".hidden.png", "old.jfif", "older.JPE"):
        (photos / name).touch()
    passed_over = PassedOver()
    found = names(photos, photos, passed_over=passed_over)
    assert {"old.jfif", "older.JPE"} <= {Path(name).name for name in found}
    hidden = sum(file.name.startswith(".") for file in photos.rglob("*") if file.is_file())
    assert passed_over["ending in .txt"] == 4 and passed_over["without an ending"] == 2
    assert 2 <= passed_over["hidden"] <= 2 * hidden and passed_over["given before"] == len(found)
    assert "4 ending in .txt" in str(passed_over)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_read_is_passed_over_and_counted(project: Path) -> None:
    """As ``lost+found`` on a disk of one's own, and System Volume Information on Windows."""
    code = (
        "import os, sys; from iaa_runtime.annotate.sources import PassedOver, endings, list_images\n"
        "passed = PassedOver(); endings()  # Pillow loads its parts\n"
        "os.getuid() or os.setuid(65534)  # who may read anything is not refused\n"
        "print([row['image'] for row in list_images([sys.argv[1]], passed_over=passed)], passed)"
    )
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        (Path(name) / "a.png").touch()
        (Path(name) / "lost+found").mkdir(mode=0o000)
        words = [sys.executable, "-c", code, name]
        told = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert "a.png" in told.stdout and "1 in folders that cannot be read" in told.stdout, told.stderr


def test_a_list_on_standard_input_may_begin_with_a_mark(project: Path, photos: Path) -> None:
    """Of the order of its bytes, as Windows' shells put it; of another encoding it is told of."""
    code = "from iaa_runtime.annotate.sources import list_images; print([row['image'] for row in list_images(['-'])])"
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH", "")]))
    for text in ('{"image": "a.png"}\n{"image": "b.jpg"}\n', "a.png\nb.jpg\n"):
        for encoding, seen in (
            ("utf-8-sig", "['a.png', 'b.jpg']"),
            ("utf-16", "stdin is saved as UTF-16. Save it as UTF-8"),
        ):
            told = subprocess.run(
                [sys.executable, "-c", code],
                input=text.encode(encoding),
                env=os.environ | {"PYTHONPATH": path},
                capture_output=True,
                cwd=photos,
            )
            assert seen in (told.stdout + told.stderr).decode(), encoding


def type_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("blank", [b"\n", b"\xef\xbb\xbf\r\n \t\r\n"])
def test_a_list_on_standard_input_may_begin_with_blank_lines(blank: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for lines in (b'{"image": "a.png"}\n\n {"image": "b.jpg"}', b"a.png\r\n\r\nb.jpg"):
        type_in(monkeypatch, blank + lines)
        assert names("-") == ["a.png", "b.jpg"]
    type_in(monkeypatch, blank + b'{"image": "a.png"}\nb.jpg')
    with pytest.raises(InputError, match=rf"stdin, line {blank.count(10) + 2}: not JSON"):
        names("-")


def test_a_name_in_another_encoding_is_told_of_where_names_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, whose shells pipe the console's code page."""
    monkeypatch.setattr("iaa_runtime.annotate.sources.os.fsdecode", lambda name: name.decode())
    type_in(monkeypatch, b"a.png\r\nB\x84r.png\r\n")
    with pytest.raises(InputError, match=r"stdin, line 2: b'B\\x84r.png\\r\\n' is no text in UTF-8. Write the list as"):
        names("-")


def test_linked_folders_are_looked_through_once(tmp_path: Path) -> None:
    """Also where a link leads back, or two lead to one place."""
    (tmp_path / "album" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("album/a.png", "album/inner/b.png", "elsewhere/c.png"):
        (tmp_path / name).touch()
    (tmp_path / "album" / "loop").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "inner" / "up").symlink_to(tmp_path / "album")
    for link in ("one", "two"):
        (tmp_path / "album" / link).symlink_to(tmp_path / "elsewhere")
    found = [Path(name).relative_to(tmp_path).as_posix() for name in names(tmp_path / "album")]
    assert found == ["album/a.png", "album/inner/b.png", "album/one/c.png"]


def test_a_pattern_takes_what_it_matches(photos: Path) -> None:
    assert names(photos / "*") == [str(photos / name) for name in ("a.png", "b.jpg")]
    assert names(photos / "**" / "*.webp") == [str(photos / "sub" / "c.webp")]
    with pytest.raises(InputError, match="matches no picture"):
        names(photos / "*.txt")


def test_a_picture_comes_once_where_it_comes_first(photos: Path) -> None:
    assert names(photos / "sub" / "c.webp", photos, photos / "*.png", f"{photos}/sub/../a.png") == [
        str(photos / name) for name in ("sub/c.webp", "a.png", "b.jpg")
    ]


def test_another_spelling_is_another_picture_only_where_the_disk_sees_it(photos: Path) -> None:
    (photos / "A.png").write_bytes(b"another")
    listed = [photos / "a.png", photos / "A.png"]
    one = (photos / "a.png").read_bytes() == b"another"
    assert names(*listed) == [str(photo) for photo in listed[: 1 if one else 2]]


def test_a_disk_without_case_has_each_picture_once(blind_to_case: Path) -> None:
    (blind_to_case / "d").mkdir()
    for name in ("photo.png", "caf\u00e9.jpg"):
        (blind_to_case / "d" / name).touch()
    spellings = [blind_to_case / name for name in ("d", "D", "d/Photo.png", "D/PHOTO.png", "d/CAF\u00c9.jpg")]
    assert sorted(names(*spellings)) == [str(blind_to_case / "d" / name) for name in ("caf\u00e9.jpg", "photo.png")]
    rows = write(blind_to_case / "l.jsonl", *({"image": "d/photo.PNG", "id": number} for number in (1, 2, 1)))
    assert names(rows, spellings[1]) == ["d/photo.PNG"] * 2 + [
        str(blind_to_case / "D" / name) for name in ("caf\u00e9.jpg", "photo.png")
    ]


def test_names_stay_as_given_and_paths_are_absolute(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    rows = list(list_images(["photos/b.jpg", "photos/sub"]))
    assert rows == [
        {"image": "photos/b.jpg", "path": str(photos / "b.jpg")},
        {"image": os.path.join("photos/sub", "c.webp"), "path": str(photos / "sub" / "c.webp")},
    ]


def test_two_pictures_never_share_a_name(photos: Path) -> None:
    """As lists of two folders may have it: their records would be those of one picture."""
    (photos / "sub" / "a.png").write_bytes(b"another")
    rows = [{"image": "a.png"}, {"image": "a.png", "id": 1}, {"image": "./a.png", "id": 2}]
    lists = [write(photos / "l.jsonl", *rows, {"image": "b.jpg"}), write(photos / "sub" / "l.jsonl", *rows[:2])]
    first, other = ((folder / "a.png").as_posix() for folder in (photos, photos / "sub"))
    assert names(*lists) == [first, first, "./a.png", "b.jpg", other, other]
    known = list(list_images([str(lists[0])]))
    assert [row["image"] for row in known] == ["a.png", "a.png", "./a.png", "b.jpg"]
    assert names(*lists, known=known) == [other, other]


def test_a_name_with_magic_characters_is_itself(photos: Path) -> None:
    odd = (photos / "b.jpg").rename(photos / "b[1].jpg")
    assert names(odd) == [str(odd)]


def test_a_list_keeps_its_order_and_brings_phrases_and_ids(photos: Path) -> None:
    rows = [
        {"image": "sub/c.webp", "phrases": ["a cat", "a dog"], "id": 7},
        {"image": "a.png", "phrases": "a cat"},
        {"image": "b.jpg", "phrases": None, "id": "x"},
        {"image": "a.png", "phrases": ["a bird"]},
        {"image": "a.png", "phrases": ["a cat"]},  # comes again
    ]
    listed = list(list_images([str(write(photos / "list.jsonl", *rows))]))
    assert [{name: value for name, value in row.items() if name != "path"} for row in listed] == [
        {"image": "sub/c.webp", "phrases": ["a cat", "a dog"], "id": "7"},
        {"image": "a.png", "phrases": ["a cat"]},
        {"image": "b.jpg", "id": "x"},
        {"image": "a.png", "phrases": ["a bird"]},
    ]
    assert listed[0]["path"] == str(photos / "sub" / "c.webp")


def test_a_picture_with_two_ids_has_two_rows(photos: Path) -> None:
    rows = [{"image": "a.png", "id": "a"}, {"image": "a.png", "id": "b"}, {"image": "b.jpg", "id": "c"}]
    listed = list(list_images([str(write(photos / "list.jsonl", *rows, rows[0]))]))
    assert [(row["image"], row["id"]) for row in listed] == [("a.png", "a"), ("a.png", "b"), ("b.jpg", "c")]


def test_a_list_may_lie_elsewhere_and_call_its_column_otherwise(photos: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "list.jsonl", {"file_name": "a.png"})
    (row,) = list_images([str(elsewhere)], folder=str(photos), column="file_name")
    assert row["path"] == str(photos / "a.png")


def test_a_column_that_was_named_is_the_only_one_that_is_read(photos: Path) -> None:
    listed = write(photos / "list.jsonl", {"file_name": "a.png"})
    assert names(listed) == ["a.png"], "as an imagefolder calls it"
    with pytest.raises(InputError, match=r"'picture' is None.* columns are file_name; .* --column"):
        list(list_images([str(listed)], column="picture"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file": "a.png", "size": 3}, r"line 1: 'image' is None.* columns are file, size; .* --column"),
        ({"image": 3}, "line 1: 'image' is 3"),
        ({"image": "a.png", "phrases": [""]}, r"line 1: 'phrases' is \[''\]"),
        ({"image": "a.png", "phrases": ["cat", 3]}, "line 1: 'phrases' is"),
        ({"image": "a.png", "phrases": "..."}, "line 1: 'phrases' is '...'"),
        ({"image": "a.png", "phrases": 5}, "line 1: 'phrases' is 5"),
        ({"image": "a.png", "id": 1.5}, "line 1: 'id' is 1.5"),
        ({"image": "a\0/b.png"}, "line 1: 'image' is .*, which no file is called"),
        ({"image": "\ud800.png"}, "line 1: 'image' is .*, which no file is called"),
        ({"image": "a.png", "id": "\ud800"}, "line 1: 'id': holds .*, which is no character"),
        ({"image": "a.png", "phrases": ["\ud800"]}, "line 1: 'phrases' is"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        names(write(tmp_path / "list.jsonl", row))


def test_sources_that_are_nothing_are_named(photos: Path) -> None:
    with pytest.raises(InputError, match="There is nothing at"):
        names(photos / "absent")
    with pytest.raises(InputError, match="is no picture, folder, list or tar file"):
        names(photos / "notes.txt")
    (photos / "empty").mkdir()
    with pytest.raises(InputError, match="There is no picture in"):
        names(photos / "empty")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no Unicode are Linux's")
def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(name, "wb"):
        pass
    assert names(tmp_path) == [os.fsdecode(name)]


def test_a_longer_list_takes_no_more_memory(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            file.writelines(f'{{"image": "folder/picture-{number:07}.jpg"}}\n' for number in range(count))
        tracemalloc.start()
        assert sum(1 for _ in list_images([str(path)])) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(100) > 0  # what is imported and cached on first use
    # The lesser of two: the interpreter's table of interned strings (paths are such) may happen to grow in one.
    longer, shorter = (min(peak(count), peak(count)) for count in (20_000, 1000))
    assert abs(longer - shorter) < 200_000  # 20,000 names alone would take some megabytes


def test_patterns_and_names_in_quotes_that_cmd_leaves(photos: Path) -> None:
    assert names(f"'{photos}/*.png'", f'"{photos / "b.jpg"}"') == [str(photos / "a.png"), str(photos / "b.jpg")]
    assert names(f"'{write(photos / 'list.jsonl', {'image': 'a.png'})}'") == ["a.png"]


def test_a_list_of_windows_is_read_elsewhere(photos: Path) -> None:
    (row,) = list_images([str(write(photos / "list.jsonl", {"image": "sub\\c.webp"}))])
    assert row == {"image": "sub/c.webp", "path": str(photos / "sub" / "c.webp")}
    (photos / "sub\\c.webp").write_bytes(b"")
    (row,) = list_images([str(photos / "list.jsonl")])
    assert row["image"] == "sub\\c.webp", "which is a name here, too"


def test_names_have_forward_slashes_on_windows(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sub\\d.png", "e.png"):
        (photos / name).write_bytes(b"")
    monkeypatch.setattr(os, "sep", "\\")
    monkeypatch.chdir(photos)
    rows = [*list_images([str(write(photos / "list.jsonl", {"image": "sub\\d.png"}))]), *list_images(["sub\\d.png"])]
    assert [row["image"] for row in rows] == ["sub/d.png", "sub/d.png"]
    assert names("*.png") == ["a.png", "e.png", "sub/d.png"]


def test_a_picture_that_another_system_noted_down_is_looked_for_by_its_name(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    there = Listed.from_row({"image": "sub/c.webp", "path": "C:\\Users\\me\\photos\\sub\\c.webp"})
    assert there.path == str(photos / "sub" / "c.webp")
    assert Listed.from_row({"image": "c.webp", "path": "/on/a/disk/c.webp"}).path == "/on/a/disk/c.webp"

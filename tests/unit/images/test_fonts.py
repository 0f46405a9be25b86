"""Which font a label is written in. The fonts are made here, a rectangle a letter, so that every machine has them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.images import fonts
from iaa_runtime.images.draw import draw_detections
from iaa_runtime.images.fonts import lacking, letters

CHINESE, DIGITS = "小熊猫", "0123456789."


def make_font(path: Path, alphabet: str, name: str = "Blocks") -> Path:
    """Writes a TrueType font whose letters are rectangles of different heights, and other signs an empty one."""
    points = sorted(map(ord, alphabet))
    glyphs = [b""] + [rectangle(100 + 20 * number) for number in range(len(points))]
    offsets = [sum(map(len, glyphs[:number])) for number in range(len(glyphs) + 1)]
    groups = b"".join(struct.pack(">3I", point, point, number) for number, point in enumerate(points, 1))
    format_12 = struct.pack(">2H3I", 12, 0, 16 + len(groups), 0, len(points)) + groups
    names = [(1, name), (2, "Regular"), (4, name), (6, name)]
    texts = [text.encode("utf-16-be") for _, text in names]
    starts = [sum(map(len, texts[:number])) for number in range(len(texts))]
    records = [
        struct.pack(">6H", 3, 1, 0x409, number, len(text), start)
        for (number, _), text, start in zip(names, texts, starts, strict=True)
    ]
    count = len(glyphs)
    tables = {
        b"OS/2": struct.pack(">H", 3) + bytes(94),
        b"cmap": struct.pack(">2H2HI", 0, 1, 3, 10, 12) + format_12,
        b"glyf": b"".join(glyphs),
        b"head": struct.pack(
            ">2I2I2H2Q4h2H3h", 0x10000, 0, 0, 0x5F0F3CF5, 0, 1000, 0, 0, 0, 0, 900, 900, 0, 8, 2, 1, 0
        ),
        b"hhea": struct.pack(">I3hH3h11h", 0x10000, 900, -100, 0, 900, 0, 0, 900, *[0] * 10, count)[:34]
        + struct.pack(">H", count),
        b"hmtx": struct.pack(">Hh", 900, 0) * count,
        b"loca": struct.pack(f">{len(offsets)}I", *offsets),
        b"maxp": struct.pack(">I14H", 0x10000, count, 4, 1, *[0] * 11),
        b"name": struct.pack(">3H", 0, len(records), 6 + 12 * len(records)) + b"".join(records) + b"".join(texts),
        b"post": struct.pack(">I", 0x30000) + bytes(28),
    }
    place, directory = 12 + 16 * len(tables), b""
    for tag, table in tables.items():
        directory += tag + struct.pack(">3I", 0, place, len(table))
        place += len(table)
    path.write_bytes(struct.pack(">I4H", 0x10000, len(tables), 0, 0, 0) + directory + b"".join(tables.values()))
    return path


def rectangle(height: int) -> bytes:
    """A glyph of one contour of four points, as wide as every other."""
    corners = [(100, 0), (0, height), (700, 0), (0, -height)]
    moves = b"".join(struct.pack(">h", move[axis]) for axis in (0, 1) for move in corners)
    return struct.pack(">5h2H4B", 1, 100, 0, 800, height, 3, 0, 1, 1, 1, 1) + moves


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Fonts that were found for another test are looked for anew."""
    remembered = (fonts.letters, fonts._installed, fonts._files, fonts._opened)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with fonts of a machine without fontconfig."""
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path])
    monkeypatch.setattr(shutil, "which", lambda command: None)
    return tmp_path


def chosen(text: str) -> str:
    """The file of the font that a text is written in; nothing for Pillow's own."""
    path = letters(text)[1].path
    return Path(path).name if isinstance(path, str) else ""


def test_a_font_with_the_letters_is_found_in_the_systems_folder(folder: Path) -> None:
    (folder / "deeper").mkdir()
    make_font(folder / "deeper" / "chinese.ttf", CHINESE + DIGITS)
    (folder / "broken.ttf").write_bytes(b"no font")
    assert chosen("小熊猫 0.87") == "chinese.ttf"
    assert chosen("red panda 0.87") == ""
    assert not lacking(letters("小熊猫 0.87")[1], "小熊猫 0.87")


def test_the_font_with_all_letters_is_taken_and_else_one_that_lacks_few(folder: Path) -> None:
    make_font(folder / "a_part.ttf", "小" + DIGITS)
    make_font(folder / "b_whole.ttf", CHINESE + DIGITS)
    assert chosen("小 0.5") == "a_part.ttf"
    assert chosen("小熊猫 0.5") == "b_whole.ttf"
    assert chosen("小熊猫 판 0.5") == "b_whole.ttf"
    assert chosen("판 0.5") == ""


def test_without_a_font_for_them_accents_are_left_out(folder: Path) -> None:
    assert letters("Éléphant âgé 0.50")[0] == "Elephant age 0.50"
    make_font(folder / "french.ttf", "Élphantâgé" + DIGITS)
    fonts.letters.cache_clear()
    fonts._installed.cache_clear()
    fonts._files.cache_clear()
    assert letters("Éléphant âgé 0.50")[0] == "Éléphant âgé 0.50"


def test_plain_fonts_come_first(folder: Path) -> None:
    make_font(folder / "ancient script.ttf", CHINESE)
    make_font(folder / "msyh.ttc", CHINESE)
    assert chosen(CHINESE) == "msyh.ttc"


def test_a_letter_that_no_font_has_is_looked_for_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_font(folder / "chinese.ttf", CHINESE)
    opened: list[str] = []
    open_font = fonts._opened
    monkeypatch.setattr(fonts, "_opened", lambda path, index: opened.append(path) or open_font(path, index))
    for number in range(20):
        letters(f"🐼 {number}")
    assert len(opened) == 1


@pytest.mark.skipif(shutil.which("fc-match") is None, reason="NO FONTCONFIG: how it is asked is not tested.")
def test_fontconfig_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_font(tmp_path / "chinese.ttf", CHINESE + DIGITS)
    make_font(tmp_path / "latin.ttf", "abc" + DIGITS, "Other")
    settings = tmp_path / "fonts.conf"
    settings.write_text(
        f"<fontconfig><dir>{tmp_path}</dir><cachedir>{tmp_path / 'cache'}</cachedir></fontconfig>", encoding="utf-8"
    )
    monkeypatch.setenv("FONTCONFIG_FILE", str(settings))
    asked: list[object] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: asked.append(words) or run(*words, **options))
    assert chosen("小熊猫 0.87") == "chinese.ttf"
    assert chosen("판다 0.87") == ""
    for number in range(0xAC00, 0xAC00 + 1000):
        assert chosen(f"小 {chr(number)}") == "chinese.ttf"
    assert len(asked) == 1, "a program started for each label would take minutes, where there are many"


def test_labels_are_drawn_with_it(folder: Path) -> None:
    """The three letters of a label are three different signs on the picture."""
    make_font(folder / "chinese.ttf", CHINESE + DIGITS)
    rows = []
    for letter in CHINESE:
        drawn = draw_detections(Image.new("RGB", (400, 300)), [Detection(50, 100, 50, 50, letter, 0.5)])
        rows.append(drawn.crop((0, 60, 400, 100)).tobytes())
    assert len(set(rows)) == 3

"""Fonts for texts in any script: Pillow's own, else one of this machine's that has the letters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

SMALLEST = 8
"""Pixels high: the size that fonts are looked at in."""
_PATIENCE = 10
"""Seconds for fontconfig, which reads all fonts anew where its cache is out of date."""
_MOST = 100
"""How many files are looked into where fontconfig does not say what letters they have."""
_GUESSES = 8
"""How many letters of a text that no font has whole are looked for by themselves."""
# What is tried first where fontconfig is not at hand: upright, plain, with many letters.
_PREFERRED = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "segoeui.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "AppleSDGothicNeo.ttc",
    "wqy-zenhei.ttc",
)


@lru_cache(maxsize=1024)
def letters(text: str) -> tuple[str, Font]:
    """A text as it can be written, and a font for it: the first that has all its letters, else one that lacks few.

    Accents are left out of the text where only that helps. The font is :data:`SMALLEST` pixels high; its
    ``font_variant`` gives others.
    """
    # Without FreeType, which every Pillow wheel brings, this would be a font of one size.
    own = cast(Font, ImageFont.load_default(SMALLEST))
    wanted = lacking(own, text)
    if not wanted:
        return text, own
    # A letter that no font has is found out once, not with each text that it is in.
    whole = _installed(frozenset(text)) if _installed(frozenset(max(wanted))) else None
    if whole is not None:
        return text, whole
    parts = [_installed(frozenset(letter)) for letter in sorted(wanted)[:_GUESSES]]
    fonts = [own, *(font for font in parts if font is not None)]
    choices = [(written, font) for written in (text, _without_accents(text)) for font in fonts]
    return min(choices, key=lambda choice: len(lacking(choice[1], choice[0])))


def lacking(font: Font, text: Iterable[str]) -> set[str]:
    """The letters of a text that a font lacks: it draws them all as the same sign."""
    missing = bytes(font.getmask("\U0010ffff"))
    return {letter for letter in text if not letter.isspace() and bytes(font.getmask(letter)) == missing}


@lru_cache(maxsize=1024)
def _installed(wanted: frozenset[str]) -> Font | None:
    """The first of this machine's fonts that has all of some letters; None if none has."""
    files = (file for file in _files() if file.may_have(wanted))
    fonts = (_opened(file.path, file.index) for file in files)
    return next((font for font in fonts if font is not None and not lacking(font, wanted)), None)


@dataclass(frozen=True)
class _File:
    """Where a font is.

    Attributes:
        path: The file's.
        index: Which font in it.
        ranges: First and last code points of its letters, ascending; None if that is not known.
    """

    path: str
    index: int = 0
    ranges: list[tuple[int, int]] | None = None

    def may_have(self, wanted: Iterable[str]) -> bool:
        """Whether it has all of some letters, as far as is known without opening it."""
        return self.ranges is None or all(letter.isspace() or self._has(ord(letter)) for letter in wanted)

    def _has(self, point: int) -> bool:
        ranges = self.ranges or []
        place = bisect_right(ranges, (point, sys.maxunicode))
        return place > 0 and point <= ranges[place - 1][1]


@lru_cache(maxsize=1)
def _files() -> tuple[_File, ...]:
    """This machine's fonts, those for everyday texts first: as fontconfig sorts them, else by ``_PREFERRED``."""
    command = shutil.which("fc-match")
    return tuple(_of_folders() if command is None else _of_fontconfig(command))


def _of_fontconfig(command: str) -> Iterator[_File]:
    asked = [command, "--all", "--format=%{file}\t%{index}\t%{charset}\n", "sans-serif"]
    try:
        answer = subprocess.run(asked, capture_output=True, timeout=_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for path, index, charset in re.findall("^(.*)\t([0-9]+)\t([0-9a-f -]*)$", os.fsdecode(answer), re.M):
        pairs = [(part.split("-") * 2)[:2] for part in charset.split()]
        ranges = [(int(first, 16), int(last, 16)) for first, last in pairs]
        yield _File(path, int(index) & 0xFFFF, ranges)  # above these bits: an instance of a variable font


def _of_folders() -> Iterator[_File]:
    order = {name.lower(): number for number, name in enumerate(_PREFERRED)}
    found = {path for folder in _folders() for kind in ("ttf", "ttc", "otf") for path in folder.rglob(f"*.{kind}")}
    paths = sorted(found, key=lambda path: (order.get(path.name.lower(), len(order)), path))
    yield from (_File(str(path)) for path in paths[:_MOST])


def _folders() -> list[Path]:
    home, given = Path.home(), os.environ.get
    if sys.platform == "win32":
        own = Path(given("LOCALAPPDATA", home / "AppData" / "Local"), "Microsoft", "Windows", "Fonts")
        return [Path(given("WINDIR", "C:/Windows"), "Fonts"), own]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local" / "share" / "fonts"]


@lru_cache(maxsize=len(_PREFERRED))
def _opened(path: str, index: int) -> Font | None:
    """A font; None for what is none, or has pictures of one size only, as emoji do."""
    try:
        return ImageFont.truetype(path, SMALLEST, index)
    except OSError:
        return None


def _without_accents(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))

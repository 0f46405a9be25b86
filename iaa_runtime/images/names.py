"""Names of pictures as they are typed and noted down: shells differ in patterns and quotes, systems in slashes."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path


def slashed(name: str) -> str:
    """The name with forward slashes, which every system reads: what is noted down moves from one to another."""
    return name.replace(os.sep, "/")


def unquoted(text: str) -> str:
    """The text without quotes around it, which Windows takes for a part of the name or copies with it."""
    is_quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "'\"" and not os.path.lexists(text)
    return text[1:-1] if is_quoted else text


def at_home(text: str) -> str:
    """The path with the home folder for its ``~``, which a shell leaves there in quotes, behind ``=``, or at all."""
    return text if os.path.lexists(text) else os.path.expanduser(text)


def slug(text: str) -> str:
    """``text`` as a part of a file name: at most 40 characters of words in any script, joined by hyphens."""
    composed = unicodedata.normalize("NFC", text.lower())
    # Vowels of many scripts are marks, of which a regular expression's \w knows nothing.
    kept = (c if c == "_" or unicodedata.category(c)[0] in "LMN" else " " for c in composed)
    return "-".join("".join(kept).split())[:40].strip("-") or "box"


def is_pattern(text: str) -> bool:
    """Whether the text is a pattern and no name of something that is there."""
    return glob.has_magic(text) and not os.path.lexists(text)


def matching(pattern: str) -> Iterator[str]:
    """What matches a pattern; ``**`` stands for a folder and all below it, linked ones too, each once.

    Python's own ``**`` goes through a link that leads back to where it lies again and again.
    """
    parts = re.split(r"/|\\" if os.sep == "\\" else "/", pattern)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    begin, rest = os.sep.join(parts[:at]) + os.sep * (at > 0), os.sep.join(parts[at + 1 :]) or "*"
    for top in glob.iglob(begin) if begin else [""]:
        for folder in _folders(top):
            yield from matching(os.path.join(glob.escape(folder), rest))


def _folders(top: str) -> Iterator[str]:
    """A folder and those below it that are not hidden, each once whatever links lead to it; an empty one is here."""
    seen = set[tuple[int, int]]()
    for here, names, _ in os.walk(top or os.curdir, followlinks=True):
        about = os.stat(here)
        new = (about.st_dev, about.st_ino) not in seen
        seen.add((about.st_dev, about.st_ino))
        names[:] = sorted(name for name in names if not name.startswith(".")) if new else []
        if new:
            yield here if top else os.path.relpath(here, os.curdir).removeprefix(os.curdir)


def expanded(text: str) -> list[str]:
    """What a pattern matches, sorted, where the shell left that to the program, as cmd does; else the text itself."""
    text = unquoted(text)
    return (sorted(set(map(slashed, matching(text)))) if is_pattern(text) else []) or [text]


def name_in_list(folder: Path, name: str) -> str:
    """A list's name for a picture in ``folder``; with forward slashes where a list of Windows is read elsewhere."""
    foreign = os.sep == "/" and "\\" in name and not os.path.lexists(folder / name)
    return name.replace("\\", "/") if foreign else name


def path_in_list(folder: Path, name: str) -> Path:
    """Where the picture lies that a list beside ``folder`` calls so, as :func:`name_in_list` reads it."""
    return folder / name_in_list(folder, name)


def path_here(path: str, name: str) -> str:
    """Where a picture lies that another run noted down: ``path``; under its name where that was on another system."""
    return path if path.startswith("/") == (os.sep == "/") else os.path.abspath(name)

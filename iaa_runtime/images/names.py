"""Names of pictures as they are typed and noted down: shells differ in patterns and quotes, systems in slashes."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def slashed(name: str) -> str:
    """The name with forward slashes, which every system reads: what is noted down moves from one to another."""
    return name.replace(os.sep, "/")


def unquoted(text: str) -> str:
    """The text without single quotes around it, which Windows' cmd takes for a part of the name."""
    is_quoted = len(text) > 2 and text[0] == text[-1] == "'" and not os.path.lexists(text)
    return text[1:-1] if is_quoted else text


def is_pattern(text: str) -> bool:
    """Whether the text is a pattern and no name of something that is there."""
    return glob.has_magic(text) and not os.path.lexists(text)


def expanded(text: str) -> list[str]:
    """What a pattern matches, sorted, where the shell left that to the program, as cmd does; else the text itself."""
    text = unquoted(text)
    return (sorted(map(slashed, glob.glob(text, recursive=True))) if is_pattern(text) else []) or [text]


def name_in_list(folder: Path, name: str) -> str:
    """A list's name for a picture in ``folder``; with forward slashes where a list of Windows is read elsewhere."""
    foreign = os.sep == "/" and "\\" in name and not os.path.lexists(folder / name)
    return name.replace("\\", "/") if foreign else name


def path_here(path: str, name: str) -> str:
    """Where a picture lies that another run noted down: ``path``; under its name where that was on another system."""
    return path if path.startswith("/") == (os.sep == "/") else os.path.abspath(name)

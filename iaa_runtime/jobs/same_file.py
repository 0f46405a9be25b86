"""Whether two paths lead to one file: case, forms of Unicode, links and other names of a folder make no other file.

On the disks of Windows and macOS ``Photo.png`` is ``photo.PNG``. Of what is there, the disk knows; names of files that
are not there yet count as one where they differ in nothing else, on whatever disk.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def same_file(first: str | Path, second: str | Path) -> bool:
    """Whether two paths lead to one file, or may do so as they are not both there."""
    known = same_on_disk(first, second)
    return place(first) == place(second) if known is None else known


def same_on_disk(first: str | Path, second: str | Path) -> bool | None:
    """Whether two paths lead to one file that is there; None where they do not both lead to any."""
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):
        return None


def place(path: str | Path) -> str:
    """The same for all spellings of a file, be it there or not: the number of the folder on its disk, and the rest."""
    try:
        folder, rest = os.path.split(os.path.realpath(path))
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            folder, name = os.path.split(folder)
            rest = os.path.join(name, rest)
        number = os.stat(folder)
    except (OSError, ValueError):  # no file is called so, which reading or writing it will say
        return folded(str(path))
    return f"{number.st_dev}:{number.st_ino}:{folded(rest)}"


def folded(name: str) -> str:
    """A name without the differences that a disk may not see."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

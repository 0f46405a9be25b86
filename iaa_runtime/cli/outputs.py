"""What one run of a command reads and writes: no two of these are ever the same file."""

from __future__ import annotations

import argparse
import os
import unicodedata
from pathlib import Path

from ..errors import UsageError
from ..jobs.files import check_output


def add_overwrite_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


class Outputs:
    """The files of a run, checked before its work.

    Args:
        overwrite: files of earlier runs may be replaced.
    """

    def __init__(self, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self._taken: dict[str, str] = {}

    def reads(self, option: str, path: str | Path) -> None:
        """Notes a file that the run reads."""
        self._taken[_key(path)] = f"{option} {path}"

    def writes(self, option: str, path: Path) -> None:
        """Notes a file that the run is going to write.

        Raises:
            UsageError: the run reads it, or writes it for another option too.
            InputError: it is there already, or is nothing that may be replaced.
        """
        taken = self._taken.setdefault(_key(path), f"{option} {path}")
        if taken != f"{option} {path}":
            raise UsageError(f"{option} would write {path} over {taken}. Choose another name.")
        check_output(path, overwrite=self.overwrite)


def _key(path: str | Path) -> str:
    """The same for all names of a file, on Windows and macOS too, where the case of letters makes no other file."""
    try:
        real = os.path.realpath(path)
    except ValueError:  # no file is called so, which reading or writing it will say
        real = str(path)
    return unicodedata.normalize("NFC", real).casefold()

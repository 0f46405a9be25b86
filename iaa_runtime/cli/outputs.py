"""What one run of a command reads and writes: no output is ever an input, or another output."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from ..jobs.files import check_output
from ..jobs.same_file import place, same_file

FILES = ("image", "source", "annotations", "questions", "predictions")
CHECKPOINTS = ("model", "vision_tower", "folder")
"""Options that name inputs: files, and checkpoints with all of their files."""
ENDINGS = (".json", ".jinja", ".txt", ".model", ".safetensors", ".bin")
"""Of a checkpoint's files."""

Known = dict[str, list[tuple[str, Path]]]
"""Options with the files that they name, by place."""


class Outputs:
    """The files of a run, checked before its work; every output passes here.

    Args:
        options: of the command. What they name as inputs is noted; ``overwrite`` lets files of earlier runs be
            replaced.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.overwrite: bool = getattr(options, "overwrite", False)
        self._read: Known = defaultdict(list)
        self._written: Known = defaultdict(list)
        for name in FILES:
            given = getattr(options, name, None) or []
            for path in [given] if isinstance(given, str) else given:
                self.reads(_option(name), path)
        for path, _ in getattr(options, "adaptor", None) or ():
            self.reads("--adaptor", path)
        for name in CHECKPOINTS:
            if given := getattr(options, name, None):
                self._reads_checkpoint(_option(name), str(given))

    def reads(self, option: str, path: str | Path) -> None:
        """Notes a file that the run reads; raises as :meth:`spares` does."""
        self.spares(option, path)
        self._read[place(path)].append((option, Path(path)))

    def spares(self, option: str, path: str | Path) -> None:
        """Like :meth:`reads`, for files so many that only the outputs noted before are compared with them.

        Raises:
            UsageError: the run would write it.
        """
        if self._written and (met := _met(self._written, path)):
            raise _clash(*met, option, path)

    def writes(self, option: str, path: Path, *, again: bool = False) -> None:
        """Notes a file that the run is going to write.

        Args:
            option: that asks for it.
            path: the file.
            again: an earlier start of the run may have written it; what is there is compared when it is written.

        Raises:
            UsageError: the run reads it, or writes it for another option too.
            InputError: it is there already, or is nothing that may be replaced.
        """
        met = _met(self._read, path) or _met(self._written, path)
        if met is None:
            self._written[place(path)].append((option, path))
        elif met != (option, path):
            raise _clash(option, path, *met)
        check_output(path, overwrite=self.overwrite or again)

    def _reads_checkpoint(self, option: str, given: str) -> None:
        folder = os.path.dirname(given) if os.path.isfile(given) else given
        with suppress(OSError, ValueError):  # whoever opens it says what is wrong
            for name in os.listdir(folder or os.curdir):
                if name.lower().endswith(ENDINGS):
                    self.reads(option, os.path.join(folder, name))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name != "source" else "the source"


def _met(known: Known, path: str | Path) -> tuple[str, Path] | None:
    """The file of ``known`` that a path leads to, with its option."""
    return next((there for there in known.get(place(path), ()) if same_file(there[1], path)), None)


def _clash(option: str, path: Path, other_option: str, other: str | Path) -> UsageError:
    return UsageError(f"{option} would write {path} over {other_option} {other}. Choose another name.")

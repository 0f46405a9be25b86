"""The files of a run of teaching: what it writes, and the folder that it keeps until it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import torch

from ..adaptors.file import SUFFIX
from ..errors import InputError
from ..jobs.files import TEMPORARY, check_output, make_folder, write_atomically
from ..jobs.lock import held

Result = TypeVar("Result")
PARTS = ".parts"
"""Suffix of the folder in which an unfinished run is kept."""
LONGEST_NAME = 200
"""Bytes of an adaptor's name: what lies beside its file, or is written first, has a longer one; disks allow 255."""


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, all named after the adaptor's."""

    adaptor: Path

    @property
    def curve(self) -> Path:
        """The learning curve as JSON lines."""
        return self.adaptor.with_suffix(".curve.jsonl")

    @property
    def curve_png(self) -> Path:
        """The learning curve as a picture."""
        return self.adaptor.with_suffix(".curve.png")

    @property
    def sheet(self) -> Path:
        """Held-out pictures before and after."""
        return self.adaptor.with_suffix(".before-after.png")

    @property
    def results(self) -> tuple[Path, ...]:
        """All that is left when it is done."""
        return self.adaptor, self.curve, self.curve_png, self.sheet

    @property
    def parts(self) -> Path:
        """The folder of the unfinished run."""
        return self.adaptor.with_name(f"{self.adaptor.name}{PARTS}")

    @property
    def settings(self) -> Path:
        """What the unfinished run was begun with; the folder is ours where this file is in it."""
        return self.parts / "settings.json"

    @property
    def lessons(self) -> tuple[Path, Path]:
        """What is learned from, and what is held out."""
        return self.parts / "lessons.pt", self.parts / "held-out.pt"

    @property
    def state(self) -> Path:
        """The last saved step."""
        return self.parts / "state.pt"

    @property
    def unfinished_curve(self) -> Path:
        """The learning curve so far."""
        return self.parts / "curve.jsonl"

    @property
    def lock(self) -> Path:
        """What a run holds while it is under way."""
        return self.parts / "lock"

    def begun(self) -> bool:
        """Whether there is an unfinished run.

        Raises:
            InputError: something else lies where its folder goes.
        """
        ours = os.path.isdir(self.parts) and not self.parts.is_symlink()
        if ours and self.settings.is_file():
            return True
        if os.path.lexists(self.parts) and (not ours or any(path != self.lock for path in self.parts.iterdir())):
            raise InputError(
                f"{self.parts} is there already and no unfinished run of iaa teach. Move it away, or choose another "
                "name for the adaptor."
            )
        return False

    def check(self, *, overwrite: bool) -> None:
        """Raises :class:`InputError` where one of them may not be written."""
        if self.adaptor.suffix != SUFFIX:
            raise InputError(f"{self.adaptor} is no name for an adaptor: it must end in {SUFFIX}. Choose such a one.")
        if len(os.fsencode(self.adaptor.name)) > LONGEST_NAME:
            raise InputError(
                f"{self.adaptor} cannot be written: its name takes more than {LONGEST_NAME} bytes, and those of the "
                "files beside it are longer still. Choose a shorter one."
            )
        again = self.begun()
        for path in self.results:
            check_output(path, overwrite=overwrite or again)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Makes the folder of the run, which no other may use meanwhile; it goes where nothing is kept in it.

        Raises:
            InputError: another run is under way, or the folder cannot be made.
        """
        make_folder(self.parts)
        refusal = f"Another run is teaching {self.adaptor} just now. Wait until it is done, or choose another name."
        try:
            with held(self.lock, refusal):
                yield
        finally:
            with suppress(OSError):  # the run goes on later, or somebody put something into it
                self.parts.rmdir()

    def remove_parts(self) -> None:
        """Removes what the run kept, and nothing else."""
        torn = self.parts.glob(f".*{TEMPORARY}")  # of a process that was killed while it wrote
        for path in (*self.lessons, self.state, self.unfinished_curve, *torn, self.settings):
            path.unlink(missing_ok=True)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """What an unfinished run kept is read herein: one :class:`InputError` for all that a damaged file may raise."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:  # torch's reader of pickles has errors of its own, beside Python's
        raise InputError(
            f"{path} is damaged, so the unfinished run cannot go on. Remove {path.parent} to begin anew."
        ) from None


class _Heard:
    """A file whose errors are kept: torch's writer of archives puts one of its own in their place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        return self._heard(lambda: self._file.write(content))

    def flush(self) -> None:
        self._heard(self._file.flush)

    def _heard(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except OSError as error:
            self.error = error
            raise


def write_state(path: Path, state: Any) -> None:
    """Writes what :func:`torch.load` reads, whole or not at all; raises :class:`InputError` where it cannot be."""

    def write(file: BinaryIO) -> None:
        heard = _Heard(file)
        try:
            torch.save(state, cast(BinaryIO, heard))
        except RuntimeError:
            if heard.error is not None:
                raise heard.error from None
            raise

    write_atomically(path, write, overwrite=True)

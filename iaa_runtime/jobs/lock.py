"""A file that one run at a time holds. The system lets go of it when its process ends, however that ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _remove(file: BinaryIO, path: Path) -> None:
        file.close()  # Windows removes nothing that is open, as it is where the next run holds it already
        with suppress(OSError):
            path.unlink()
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _remove(file: BinaryIO, path: Path) -> None:
        with suppress(OSError):
            path.unlink()  # while it is held: once it is not, the next run may hold it
        file.close()


_HELD = (errno.EACCES, errno.EAGAIN)
"""What systems say of a file that is held; all else is said of disks that know no locks."""


@contextmanager
def held(path: Path, refusal: str) -> Iterator[None]:
    """Holds a file while the context lasts, for which it is made; nothing is held on a disk that knows no locks.

    Args:
        path: the file, in a folder that is there.
        refusal: what to say where another run holds it, in this process or in any.

    Raises:
        InputError: ``refusal``; or the file cannot be made.
    """
    file = _opened(path, refusal)
    while not _lies_at(file, path):  # its holder removed it between opening and locking
        file.close()
        file = _opened(path, refusal)
    try:
        yield
    finally:
        _remove(file, path)


def _opened(path: Path, refusal: str) -> BinaryIO:
    """The file, locked if the disk knows locks."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Choose another place.") from error
    try:
        _lock(file.fileno())
    except OSError as error:
        if error.errno in _HELD:
            file.close()
            raise InputError(refusal) from None
    return file


def _lies_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is still the one of that path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False

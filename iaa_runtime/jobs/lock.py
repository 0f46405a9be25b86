"""A file that one run at a time holds. The system lets go of it when its process ends, however that ends."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
    try:
        yield
    finally:
        file.close()  # Windows removes nothing that is open
        with suppress(OSError):  # the next run may hold it already
            path.unlink()

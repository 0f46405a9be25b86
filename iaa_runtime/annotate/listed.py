"""A picture of a list, be it a file or a member of a tar file, and how it is opened."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..images.load import load_image
from ..images.names import path_here
from ..jobs.files import open_input
from ..jobs.job import Row

_BYTES = "the given file"
"""What :func:`load_image` calls a file without a name."""


@dataclass(frozen=True)
class Listed:
    """A picture of the list.

    Attributes:
        name: as given.
        path: where it lies; in a tar file, this one's path and the name inside.
        phrases: that a list gives for it.
        id: that a list gives for it.
        member: the name inside of a tar file.
        offset: where the member begins there.
    """

    name: str
    path: str
    phrases: tuple[str, ...] = ()
    id: str | None = None
    member: str = ""
    offset: int = 0

    @classmethod
    def from_row(cls, row: Row) -> Listed:
        """The picture of a job's item."""
        name, member, offset = row["image"], row.get("member", ""), row.get("offset", 0)
        rest = len(member) + 1 if member else 0
        path = path_here(row["path"][: len(row["path"]) - rest], name[: len(name) - rest])
        whole = f"{path}/{member}" if member else path
        return cls(name, whole, tuple(row.get("phrases", ())), row.get("id"), member, offset)

    def row(self) -> Row:
        """The item of a job."""
        row: Row = {"image": self.name, "path": self.path}
        if self.phrases:
            row["phrases"] = list(self.phrases)
        if self.id is not None:
            row["id"] = self.id
        return row | ({"member": self.member, "offset": self.offset} if self.member else {})

    @property
    def file(self) -> str:
        """The file that holds it."""
        return self.path[: -len(self.member) - 1] if self.member else self.path

    def read(self) -> bytes:
        """The bytes of its file; raises :class:`InputError` where they cannot be read."""
        with open_input(Path(self.file)) as file:
            if not self.member:
                return file.read()
            with tar_errors(self.file), tarfile.open(fileobj=file, mode="r:") as tar:
                file.seek(self.offset)
                about = tarfile.TarInfo.fromtarfile(tar)
                # A member may claim to be larger than all of its file.
                fits = about.name == self.member and about.isreg() and about.size <= os.path.getsize(self.file)
                content = tar.extractfile(about) if fits else None
                if content is None:
                    raise tarfile.ReadError(f"{self.member} is not where it was")
                return content.read()

    def load(self) -> Image.Image:
        """Opens the picture; raises :class:`InputError` that names it as it was given."""
        try:
            return load_image(io.BytesIO(self.read()) if self.member else self.path)
        except InputError as error:
            called = _BYTES if self.member else self.path
            raise InputError(str(error).replace(called, self.name)) from error


@contextmanager
def tar_errors(path: str) -> Iterator[None]:
    """Has what reading a tar file raises end in an :class:`InputError` that names it."""
    try:
        yield
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a tar file ({error}). Is it whole, and not compressed?") from error

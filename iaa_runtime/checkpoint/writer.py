"""Writes weights: one tensor after the other goes into safetensors files, which are complete or not there at all.
And the small JSON files beside them.

A checkpoint may be larger than memory: never more than a chunk of one tensor is held.
"""

from __future__ import annotations

import errno
import glob
import json
import logging
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import InputError
from .formats import SAFETENSORS_DTYPES

log = logging.getLogger(__name__)

MARKER = ".iaa-partial"
"""The file by which a folder that is being written is known as ours."""
SHARD_BYTES = 1 << 30
"""How large a weight file grows before the next one is begun."""

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""A disk is full, its files have a limit (4 GB on FAT32), or its user has."""

_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
"""What some network disks say when they are asked whether bytes are written."""
_WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds between tries of renaming."""
_writing: set[Path] = set()
"""Folders that this process writes just now."""

_DTYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor to be written, whose values are made only then.

    Attributes:
        shape: of the tensor.
        dtype: as which it is stored.
        chunks: called once, when the tensor is written; yields its values in order, in tensors of any size.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: Callable[[], Iterable[Tensor]]

    @classmethod
    def of(cls, tensor: Tensor, dtype: torch.dtype) -> LazyTensor:
        """A tensor in memory, converted to ``dtype`` when it is written."""
        return cls(tuple(tensor.shape), dtype, lambda: [tensor])

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_file(file: Path, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes one safetensors file, under another name until it is complete; values are made in the order given.

    Args:
        file: is replaced if it is there.
        tensors: by name.
        metadata: what the file says of itself.
    """
    # The widest dtypes go first, so that each tensor starts at a multiple of its element's size.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    # transformers refuses files that do not name the format
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        offsets = {"data_offsets": [start, end]}
        header[name] = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)} | offsets
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = file.with_name(f"{file.name}.{_partial()}")
    partial.touch(exist_ok=False)  # ours from here on
    try:
        with partial.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, tensor in tensors.items():
                out.seek(8 + len(text) + header[name]["data_offsets"][0])
                for chunk in tensor.chunks():
                    stored = chunk.detach().to("cpu", tensor.dtype).contiguous()
                    out.write(stored.flatten().view(torch.uint8).numpy().data)
                assert out.tell() == 8 + len(text) + header[name]["data_offsets"][1], f"{name} has another size"
            out.flush()
            _sync(out)
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    """Waits until the bytes are on the disk, if that is one that can be asked."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def write_shards(
    folder: Path,
    tensors: Mapping[str, LazyTensor],
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes numbered safetensors files and their index.

    Args:
        folder: where they go.
        tensors: by name; they keep their order.
        shard_bytes: upper bound of a file's tensors, unless one alone is larger.
        progress: called with the name of each file that is written.
    """
    shards: list[dict[str, LazyTensor]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(t.nbytes for t in shards[-1].values()) + tensor.nbytes > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    files = {f"model-{number:05d}-of-{len(shards):05d}.safetensors": shard for number, shard in enumerate(shards, 1)}
    for file, shard in files.items():
        write_file(folder / file, shard)
        if progress is not None:
            progress(file)
    write_index(folder, files)


def write_index(folder: Path, files: Mapping[str, Mapping[str, LazyTensor]]) -> None:
    """Writes the index of a folder's weight files: which tensors each holds."""
    weight_map = {name: file for file, tensors in files.items() for name in tensors}
    total = sum(tensor.nbytes for tensors in files.values() for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object for people to read too; a text that is no valid Unicode, as JSON allows, has it escaped."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2).encode()
    path.write_bytes(text + b"\n")


def _partial() -> str:
    """What is behind the name of something that is being written: its writer's number, behind a random one, since a
    container gives every process the same."""
    return f"partial-{secrets.token_hex(4)}-{os.getpid()}"


def _mark(process: int | str) -> bytes:
    """What a folder that is being written says of its writer: the process and the machine."""
    return f"{process} {platform.node()}\n".encode()


def _remove_left_over(out: Path) -> None:
    """Removes folders that killed processes of this machine have left of ``out``; they carry our mark."""
    for left in out.parent.glob(f"{glob.escape(out.name)}.partial-*"):
        process, marker = left.name.rpartition("-")[2], left / MARKER
        if left.is_symlink() or marker.is_symlink() or not marker.is_file() or marker.stat().st_size > 1000:
            continue
        if not process.isdecimal() or marker.read_bytes() != _mark(process):
            continue
        if left in _writing or (int(process) != os.getpid() and _runs(int(process))):
            log.warning("%s is being written by process %s, and stays.", left, process)
        else:
            log.warning("%s is what a process that was killed has left; it is removed.", left)
            shutil.rmtree(left)


def _runs(process: int) -> bool:
    """Whether a process of this machine runs; True where that cannot be asked (Windows)."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def check_new_folder(out: Path) -> None:
    """Raises :class:`InputError` for a folder that may not be written: it holds something, or is a link or a file."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise InputError(f"{out} holds something already, or is a link. Choose another folder, or empty this one.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a folder beside ``out`` to write into; it becomes ``out`` at the end, or vanishes if anything fails
    before.

    What a process that was killed has left of the same ``out`` is removed, and named in the log.

    Raises:
        InputError: ``out`` holds something already or cannot give way, the folder cannot be made, or the disk is full.
        NotRenamedError: the folder is whole and stays, but did not become ``out``.
    """
    out = Path(os.path.abspath(out))
    was_there = out.exists()
    try:
        check_new_folder(out)
        _remove_left_over(out)
        if was_there:
            _give_way(out)
        partial = out.with_name(f"{out.name}.{_partial()}")
        partial.mkdir(parents=True)  # ours from here on
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"A folder beside {out}, where the files are written first, cannot be made "
            f"({getattr(error, 'strerror', None) or error}). Choose another --out."
        ) from error
    _writing.add(partial)
    try:
        (partial / MARKER).write_bytes(_mark(os.getpid()))
        yield partial
        (partial / MARKER).unlink()
        _rename(partial, out)
    except NotRenamedError:
        raise
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if was_there:
            out.mkdir(exist_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise InputError(
                f"{out} cannot be written ({error.strerror}); nothing is left of it. Free space there, or choose a "
                "place on another disk."
            ) from error
        raise
    finally:
        _writing.discard(partial)


class NotRenamedError(InputError):
    """A folder is whole, but cannot get its name."""


def _rename(folder: Path, out: Path) -> None:
    """Gives a whole folder its name, a few times if need be: on Windows a scanner may hold a new file for a moment."""
    for wait in (*_WAITS, None):
        try:
            folder.rename(out)
            return
        except PermissionError as error:
            if wait is None:
                raise NotRenamedError(
                    f"All is written, but {folder} cannot be renamed to {out} ({error.strerror}): a program has it "
                    "open, or the folder around it may not be written. Mend that, and rename the folder."
                ) from error
            time.sleep(wait)


def _give_way(out: Path) -> None:
    """Removes an empty folder, whose place the new one takes: what cannot be done at the end is refused at once."""
    here = Path.cwd()
    try:
        if here.is_relative_to(out):
            raise OSError(errno.EBUSY, "a program runs in it")
        out.rmdir()
    except OSError as error:
        raise InputError(
            f"{out} is there, and no other folder can take its place ({error.strerror or error}): a disk is mounted "
            f"there, or it is in use. Name a folder in it that is not there yet, such as {out / 'converted'}."
        ) from error

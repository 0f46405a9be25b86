"""Atomic writing of files, and JSON lines: a file is there whole or not at all, even after a kill or a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

TEMPORARY = ".part"
"""Suffix of files that are being written."""


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a temporary file beside ``path`` and renames it once its bytes are on the disk.

    Args:
        path: the file; replaced if it exists.
        write: writes the content to the open file.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}). Free space there, or choose another place."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a small file atomically."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomically(path, write)


def _sync_folder(folder: Path) -> None:
    """Flushes the renaming itself to the disk, on systems that can open folders (Windows cannot, and need not)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_line(record: Any) -> bytes:
    """One line of JSON in UTF-8; names that are not valid Unicode (old file systems) are escaped."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Writes one record a line, atomically, without holding all of them in memory."""
    write_atomically(path, lambda file: file.writelines(map(json_line, records)))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON lines file; skips blank lines.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object; names the line.
    """
    for _, record in numbered_jsonl(path):
        yield record


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like :func:`read_jsonl`, with each object's line number, from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error}). Mend or remove the line.") from None
                if not isinstance(record, dict):
                    raise InputError(f"{path}, line {number}: {type(record).__name__}, not an object in braces.")
                yield number, record
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error

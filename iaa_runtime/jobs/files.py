"""Files of a user's: written whole or not at all, never over what is not ours; JSON lines, read a line at a time."""

from __future__ import annotations

import codecs
import errno
import filecmp
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError
from ..text.printable import printable

TEMPORARY = ".part"
"""Suffix of files that are being written."""
LONGEST_LINE = 1 << 24
"""Limit of a line of JSON, in bytes."""
LARGEST_TEXT = 1 << 26
"""Limit of a text file that is read at once, in bytes."""


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Raises :class:`InputError` unless a file may be written at ``path``.

    Args:
        path: free, or with ``overwrite`` a regular file. Devices, folders, pipes and links, whatever these lead to,
            are never replaced.
        overwrite: let a regular file be replaced.
    """
    try:
        folder = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), path)
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mode = path.lstat().st_mode if folder.is_dir() else None
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # a name that is too long, or none at all
        raise InputError(f"{path} cannot be written ({_reason(error)}). Choose another name or place.") from error
    if mode is None:
        raise InputError(f"{path} cannot be written: {folder} is no folder. Choose another place.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {_kind(mode)}, and only files are replaced. Choose another name.")
    if not overwrite:
        raise InputError(f"{path} is there already. Choose another name, or replace it with --overwrite.")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def write_atomically(path: Path, write: Callable[[BinaryIO], None], *, overwrite: bool = False) -> None:
    """Writes a temporary file beside ``path`` and renames it once its bytes are on the disk.

    Args:
        path: the file, in a folder that is there.
        write: writes the content to the open file.
        overwrite: replace a file with other content; one with the same is no conflict.

    Raises:
        InputError: the file cannot be written, or there is something that may not be replaced.
    """
    check_output(path, overwrite=True)
    partial = path.with_name(f".{short_name(path.name)}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        try:
            with partial.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if not overwrite and path.is_file() and filecmp.cmp(partial, path, shallow=False):
                partial.unlink()
                return
            check_output(path, overwrite=overwrite)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except (OSError, UnicodeEncodeError) as error:
        raise InputError(
            f"{path} cannot be written ({_reason(error)}). Free space there, or choose another name or place."
        ) from error


def short_name(name: str, most: int = 200) -> str:
    """A name cut to a number of bytes, so that with what is added to it it stays within the 255 that disks allow."""
    content = os.fsencode(name)
    return name if len(content) <= most else content[:most].decode(errors="ignore")


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Writes a small file as :func:`write_atomically` does."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomically(path, write, overwrite=overwrite)


def append_bytes(path: Path, content: bytes) -> None:
    """Adds to the end of a file, which need not be there, and hands the bytes to the system.

    Raises:
        InputError: it cannot be written, or is nothing that may be added to.
    """
    check_output(path, overwrite=True)
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({_reason(error)}). Free space there, or choose another name or place."
        ) from error


def make_folder(folder: Path) -> None:
    """Makes a folder for outputs and those above it; raises :class:`InputError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} cannot be used ({_reason(error)}). Choose another place.") from error


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
    """One line of JSON in UTF-8; what would steer a terminal, and names that are no Unicode, are escaped."""
    try:
        return printable(json.dumps(record, ensure_ascii=False)).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def write_jsonl(path: Path, records: Iterable[Any], *, overwrite: bool = False) -> None:
    """Writes one record a line as :func:`write_atomically` does, without holding all of them in memory."""
    write_atomically(path, lambda file: file.writelines(map(json_line, records)), overwrite=overwrite)


class Spool:
    """Records in a temporary file: any number of them, to be gone through more than once, one loop behind the other."""

    def __init__(self, file: BinaryIO, records: Iterable[Any]) -> None:
        self._file, self._count = file, 0
        for record in records:
            file.write(json_line(record))
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        yield from map(json.loads, self._file)


@contextmanager
def spooled(records: Iterable[Any]) -> Iterator[Spool]:
    """Takes the records up into a temporary file, which is gone when the context ends."""
    with tempfile.TemporaryFile() as file:
        yield Spool(file, records)


def open_input(path: Path) -> BinaryIO:
    """Opens a file to be read.

    Raises:
        InputError: it is not there, or no regular file: a pipe may never answer, and a device never end.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}). Check the path.") from error
    raise InputError(f"{path} cannot be read: it is {_kind(mode)}. Give a file.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in 64 hexadecimal digits; raises :class:`InputError` where it cannot be read."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """The text of a small file, without a byte order mark; line ends become ``\\n``.

    Raises:
        InputError: it cannot be read, is too large, or is no UTF-8.
    """
    with open_input(path) as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise InputError(f"{path} is larger than {LARGEST_TEXT} bytes. Is it the right file?")
    _refuse_utf_16(content, path)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error}). Save it as such.") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON lines file; skips blank lines.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object; names the line.
    """
    for _, record in numbered_jsonl(path):
        yield record


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like :func:`read_jsonl`, with each object's line number, from 1."""
    with open_input(path) as file:
        yield from numbered_rows(file, path)


def numbered_rows(file: BinaryIO, path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like :func:`numbered_jsonl`, of an open file; ``path`` names it."""
    for number, line in numbered_lines(file, path):
        yield number, parsed_row(line, path, number)


def numbered_lines(file: BinaryIO, path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of an open file that are not blank, without a byte order mark, with their numbers, from 1.

    Raises:
        InputError: the file cannot be read, is UTF-16, or a line is too long; ``path`` names it.
    """
    number = 0
    while line := _next_line(file, path, number + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield number, line


def parsed_row(line: bytes, path: Path | str, number: int) -> dict[str, Any]:
    """The object that a line holds; raises :class:`InputError` that names the line where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # not JSON, no UTF-8, numbers too long, lists too deep
        raise InputError(f"{path}, line {number}: not JSON ({error}). Mend or remove the line.") from None
    if not isinstance(record, dict):
        raise InputError(
            f"{path}, line {number}: {type(record).__name__}, not an object in braces. Mend or remove the line."
        )
    return record


def read_torn_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file that a killed process may have left: without lines that are none; none if absent."""
    with suppress(InputError), open_input(path) as file:
        while line := file.readline(LONGEST_LINE):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def _next_line(file: BinaryIO, path: Path | str, number: int) -> bytes:
    try:
        line = file.readline(LONGEST_LINE + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}). Check the path.") from error
    if number == 1:
        _refuse_utf_16(line, path)
    if len(line) > LONGEST_LINE:
        raise InputError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes. Is it the right file?")
    return line


def _refuse_utf_16(start: bytes, path: Path | str) -> None:
    """Raises :class:`InputError` for the start of a file as Windows' PowerShell and old editors save them."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is saved as UTF-16. Save it as UTF-8.")


def check_text(text: str, where: str) -> None:
    """Raises :class:`InputError` for a text with characters that are none: lone surrogates.

    Args:
        text: of the user's.
        where: begins the message: file, line and field.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: holds {text[error.start]!a}, which is no character. Mend or remove it.") from None

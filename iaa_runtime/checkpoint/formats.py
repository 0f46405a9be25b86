"""The two formats of weight files, safetensors and torch's own: the table of their tensors, and loading those.

A tensor that is wanted as it is stored can be a view of the file, at no cost. Any other is converted, or copied to its
device, in chunks of rows, each mapped on its own, so that neither the file's pages nor a second copy pile up.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..config.small_files import LFS_POINTER, check_fetched
from ..errors import CheckpointError
from .pickles import is_tame, is_zip
from .staging import Staging

SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


LONGEST_HEADER = 16 << 20
"""Bytes; each shard of the published checkpoint has about 20 kB."""

MOST_DIMENSIONS = 16
"""Of a tensor. Their product is a number of many digits that takes long."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its name, shape and dtype, and in safetensors files the byte at which it starts."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int = 0

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)  # torch's own count of a header's claim may overflow

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class Target:
    """How tensors are wanted.

    Attributes:
        dtype: of all of them.
        device: where they go.
        buffer: shared by all that have to be converted, each of which is valid until the next; None gives each tensor
            memory of its own.
    """

    dtype: torch.dtype
    device: torch.device
    buffer: Tensor | None = None

    @cached_property
    def staging(self) -> Staging | None:
        """The way to a device other than the CPU."""
        return Staging(self.dtype, self.device) if self.device.type != "cpu" else None

    def matches(self, entry: Entry) -> bool:
        """Whether a tensor is wanted as it is stored."""
        return self.device.type == "cpu" and entry.dtype == self.dtype

    def memory(self, entry: Entry) -> Tensor:
        """Where a tensor goes that is converted or copied."""
        if self.buffer is None:
            return torch.empty(entry.shape, dtype=self.dtype, device=self.device)
        return self.buffer[: entry.numel].view(entry.shape)

    def copy(self, rows: Tensor, out: Tensor) -> Tensor:
        """Copies rows as stored to ``out``, which is returned."""
        if self.staging is None:
            return out.copy_(rows)
        self.staging.copy(rows, out)
        return out


class WeightFile(ABC):
    """One file of weights."""

    chunk_bytes: ClassVar[int]
    """About how much of the file a conversion on the CPU holds at a time."""
    least_view: ClassVar[int] = 0
    """Bytes of the smallest tensor that may stay a view; smaller ones are copied."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yields all of the file's tensors, from its header."""

    def metadata(self) -> dict[str, str]:
        """What the file says of itself beside its tensors."""
        return {}

    @abstractmethod
    def views(self, entries: Sequence[Entry]) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors as stored, which may share one mapping of the file."""

    @abstractmethod
    def rows(self, entry: Entry, start: int, end: int) -> Tensor:
        """Rows ``start`` to ``end`` of a tensor as stored, in a mapping of their own."""

    def load(self, entries: Iterable[Entry], target: Target) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors by name: first the views that can stay, then the others, one by one."""
        entries = list(entries)
        yield from self.views([entry for entry in entries if self._lasts(entry, target)])
        for entry in entries:
            if self._lasts(entry, target):
                continue
            if not entry.shape:  # a number has no rows
                ((name, value),) = self.views([entry])
                yield name, value.to(target.device, target.dtype)
                continue
            if target.matches(entry) and target.buffer is not None:
                yield entry.name, self.rows(entry, 0, entry.shape[0])
                continue
            out = target.memory(entry)
            for start, end in self._steps(entry, self.chunk_bytes if target.staging is None else Staging.nbytes):
                target.copy(self.rows(entry, start, end), out[start:end])
            yield entry.name, out

    def _lasts(self, entry: Entry, target: Target) -> bool:
        """Whether a tensor can stay a view of the file."""
        large = entry.nbytes >= self.least_view or not entry.shape
        return target.matches(entry) and target.buffer is None and large

    def chunks(self, entry: Entry, device: torch.device) -> Iterator[Tensor]:
        """Yields a tensor as stored, in chunks of rows, on ``device``."""
        target = Target(entry.dtype, device)
        # Quantizing takes some copies of a chunk in float32.
        for start, end in self._steps(entry, self.chunk_bytes if target.staging is None else Staging.nbytes // 4):
            rows = self.rows(entry, start, end)
            yield rows if target.staging is None else target.copy(rows, torch.empty_like(rows, device=device))

    def _steps(self, entry: Entry, chunk_bytes: int) -> Iterator[tuple[int, int]]:
        step = max(1, chunk_bytes * entry.shape[0] // max(1, entry.nbytes))
        for start in range(0, entry.shape[0], step):
            yield start, min(start + step, entry.shape[0])

    def _size(self) -> int:
        return self.file.stat().st_size

    def _unreadable(self, error: OSError | MemoryError) -> CheckpointError:
        """The file may well be whole: it is the system that says no."""
        if isinstance(error, MemoryError) or error.errno == errno.ENOMEM or getattr(error, "winerror", 0) == PAGE_FILE:
            return CheckpointError(
                f"{self.file} cannot be mapped: the system has no room for its {self._size() / 1e9:.1f} GB. Free "
                "memory, or on Windows let the page file grow; a checkpoint in fewer bits (iaa convert) is smaller."
            )
        if error.errno == errno.ENOENT:
            return CheckpointError(
                f"{self.file} is not there any more. Was its folder moved, or its disk disconnected? "
                "Put it back, and open the model again."
            )
        return CheckpointError(f"{self.file} cannot be read ({error.strerror or error}). Check its permissions.")


class _SafetensorsFile(WeightFile):
    """A length, so much JSON, and the tensors' bytes."""

    chunk_bytes = 1 << 20  # little beside the smallest bank; a mapping costs microseconds
    # A view must not be written to, and programs do change norms and biases; at the published size all that is smaller
    # takes a few MB together.
    least_view = 1 << 20

    def entries(self) -> Iterator[Entry]:
        header, start = self._header()
        size = self._size() - start
        end = 0
        for name, about in sorted(header.items(), key=lambda item: _begin(item[1])):
            if name == "__metadata__":
                continue
            kind, shape, place = self._described(name, about)
            dtype = SAFETENSORS_DTYPES.get(kind)
            if dtype is None:
                raise CheckpointError(
                    f"{name} in {self.file} is stored as {kind[:20]}, which cannot be read. Use a checkpoint in 16 or "
                    "32 bits."
                )
            entry = Entry(name, self.file, shape, dtype, start + end)
            if place != (end, end + entry.nbytes) or place[1] > size:
                raise self._broken(f"{name} is not where its shape and its neighbours say")
            end = place[1]
            yield entry
        if end != size:
            raise self._broken(f"it holds {size} bytes of tensors, and its header tells of {end}")

    def metadata(self) -> dict[str, str]:
        said = self._header()[0].get("__metadata__", {})
        if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
            raise self._broken("what it says of itself is no table of texts")
        return said

    def views(self, entries: Sequence[Entry]) -> Iterator[tuple[str, Tensor]]:
        if entries:
            start, end = min(entry.start for entry in entries), max(entry.start + entry.nbytes for entry in entries)
            mapped, before = self._map(start, end)  # once, and no further than they lie
            for entry in entries:
                yield entry.name, _tensor(mapped, before + entry.start - start, entry.dtype, entry.shape)

    def rows(self, entry: Entry, start: int, end: int) -> Tensor:
        # A mapping for each: pages of one mapping of the whole file would count as ours until its end.
        row = entry.nbytes // entry.shape[0]
        mapped, before = self._map(entry.start + start * row, entry.start + end * row)
        return _tensor(mapped, before, entry.dtype, (end - start, *entry.shape[1:]))

    def _map(self, start: int, end: int) -> tuple[mmap.mmap, int]:
        """Bytes of the file, to be read alone, and how many of them come before ``start``.

        Windows charges a mapping that may be written to, even one that keeps its changes to itself, to its page file.
        """
        before = start % mmap.ALLOCATIONGRANULARITY
        length = max(1, before + end - start)
        try:
            with self.file.open("rb") as opened:
                return mmap.mmap(opened.fileno(), length, access=mmap.ACCESS_READ, offset=start - before), before
        except ValueError:
            raise self._broken("it ends before its tensors do") from None
        except (OSError, MemoryError) as error:
            raise self._unreadable(error) from error

    def _header(self) -> tuple[dict[str, Any], int]:
        """The header, and the byte at which tensors begin. The file is not mapped for it, whatever its size."""
        try:
            with self.file.open("rb") as opened:
                begin = opened.read(8)
                length = int.from_bytes(begin, "little")
                if length > LONGEST_HEADER:
                    check_fetched(self.file, begin + opened.read(len(LFS_POINTER)))
                    raise self._broken(f"its header would have {length} bytes, and {LONGEST_HEADER} are the most")
                header = json.loads(opened.read(length))
        except CheckpointError:  # which is an OSError, too
            raise
        except (ValueError, RecursionError) as error:
            raise self._broken(str(error)) from None
        except OSError as error:
            raise self._unreadable(error) from None
        if not isinstance(header, dict):
            raise self._broken("its header is no table")
        return header, 8 + length

    def _described(self, name: str, about: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
        """What a header says of a tensor: its dtype by the format's name, its shape, and where its bytes are."""
        about = about if isinstance(about, dict) else {}
        kind, shape, place = (about.get(key) for key in ("dtype", "shape", "data_offsets"))
        fine = isinstance(kind, str) and _is_numbers(shape) and len(shape) <= MOST_DIMENSIONS
        if not fine or not _is_numbers(place) or len(place) != 2:
            raise self._broken(f"what its header says of {name[:80]} is no dtype, shape and place")
        return kind, tuple(shape), (place[0], place[1])

    def _broken(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self.file} cannot be read as safetensors ({why}). Fetch the file again.")


PAGE_FILE = 1455
"""Windows' number for a page file that is too small for what is to be mapped."""


def _tensor(mapped: mmap.mmap, at: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A view, which holds the mapping. It must not be written to: that would end the process."""
    if not (numel := math.prod(shape)):
        return torch.empty(shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return torch.frombuffer(mapped, dtype=dtype, count=numel, offset=at).view(shape)


def _begin(about: Any) -> int:
    """Where a tensor begins, by a header that may say anything."""
    place = about.get("data_offsets") if isinstance(about, dict) else None
    return place[0] if _is_numbers(place) and place else -1


def _is_numbers(value: Any) -> bool:
    """Whether it is a list of whole numbers that sizes can be."""
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 63 for number in value)


class _PickledFile(WeightFile):
    """A ``.bin`` file as torch saves them, opened with ``weights_only=True``: no code of the file runs."""

    chunk_bytes = 16 << 20  # the file's whole table is parsed anew for each

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._unmapped: dict[str, Tensor] | None = None

    def entries(self) -> Iterator[Entry]:
        try:
            self._check_tame()
            content, size = self._content(), self._size()
        except CheckpointError:  # which is an OSError, too
            raise
        except OSError as error:
            raise self._unreadable(error) from None
        described = sum(tensor.nbytes for tensor in content.values())
        # Two names for one tensor are usual, a tensor of strides of 0 is larger than all of its file.
        if described > 2 * size:
            raise CheckpointError(
                f"{self.file} describes tensors of {described} bytes, and has {size}. Fetch the file again."
            )
        for name, tensor in content.items():
            yield Entry(name, self.file, tuple(tensor.shape), tensor.dtype)

    def views(self, entries: Sequence[Entry]) -> Iterator[tuple[str, Tensor]]:
        if entries:
            content = self._content()
            yield from ((entry.name, content[entry.name]) for entry in entries)

    def rows(self, entry: Entry, start: int, end: int) -> Tensor:
        return self._content()[entry.name][start:end]

    def _check_tame(self) -> None:
        if not is_tame(self.file):
            with self.file.open("rb") as opened:
                check_fetched(self.file, opened.read(len(LFS_POINTER)))
            raise CheckpointError(
                f"{self.file} cannot be read as PyTorch weights: it is broken, compressed, or holds more than tensors, "
                "which could run code or never end and is never opened. Fetch the file again, or use safetensors."
            )

    def _content(self) -> dict[str, Tensor]:
        """The file's tensors, in a new mapping; all in memory where the file was written before torch 1.6."""
        if self._unmapped is not None:
            return self._unmapped
        try:
            mapped = is_zip(self.file)  # in memory, entries that share their bytes would be larger than all of the file
            content = torch.load(self.file, map_location="cpu", weights_only=True, mmap=mapped)
            if not mapped:
                self._unmapped = content
        except OSError as error:
            raise self._unreadable(error) from None
        except Exception as error:
            # Not torch's own words: they advise to switch off what keeps a file's code from running.
            raise CheckpointError(
                f"{self.file} cannot be read as PyTorch weights ({type(error).__name__}): it is broken, or holds more "
                "than tensors, which could run code and is never opened. Fetch the file again, or use safetensors."
            ) from None
        if not isinstance(content, dict) or not all(
            isinstance(name, str) and _is_plain(tensor) for name, tensor in content.items()
        ):
            raise CheckpointError(
                f"{self.file} is no table of tensors by name. Use the file that came with the checkpoint."
            )
        return content


def _is_plain(tensor: object) -> bool:
    """Whether it is a tensor with values of its own, in rows."""
    return isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"


def open_weights(file: Path) -> WeightFile:
    """A weight file by its suffix; only its header is looked at until tensors are loaded."""
    return _SafetensorsFile(file) if file.suffix == ".safetensors" else _PickledFile(file)

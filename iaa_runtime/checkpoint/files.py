"""Weight files of either format, opened without reading them and read tensor by tensor.

A tensor that is wanted as it is stored can be a view of the file and cost no copy; any other is converted in pieces,
each mapped apart, so that neither the file's pages nor a second copy pile up.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError

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


@dataclass(frozen=True)
class Entry:
    """A tensor's place: which file, its shape and dtype, and (of safetensors) the byte at which it starts."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int = 0

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return torch.Size(self.shape).numel()

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class Target:
    """In what form tensors are wanted, and for how long.

    ``buffer`` takes each conversion in turn, and a view lasts no longer; None: they stay.
    """

    dtype: torch.dtype
    device: torch.device
    buffer: Tensor | None = None

    def memory(self, entry: Entry) -> Tensor:
        """Where a tensor goes that has to be converted."""
        if self.buffer is None:
            return torch.empty(entry.shape, dtype=self.dtype, device=self.device)
        return self.buffer[: entry.numel].view(entry.shape)

    def takes(self, entry: Entry) -> bool:
        """Whether a tensor is wanted as it is stored."""
        return self.device.type == "cpu" and entry.dtype == self.dtype


Rows = Callable[[Entry, str, int, int], Tensor]
"""Rows ``start`` to ``end`` of a tensor."""


class _Format(Protocol):
    piece_bytes: int  # conversions hold about this much of a file at a time

    def entries(self, file: Path) -> Iterator[tuple[str, Entry]]: ...
    def read(self, file: Path, entries: Mapping[str, Entry], target: Target) -> Iterator[tuple[str, Tensor]]: ...
    def rows(self, entry: Entry, name: str, start: int, end: int) -> Tensor: ...


class _Safetensors:
    piece_bytes = 1 << 20  # little beside the smallest bank; a mapping costs microseconds

    def entries(self, file: Path) -> Iterator[tuple[str, Entry]]:
        with _open(file) as opened:  # which checks the header, so that the places in it can be trusted
            starts = _starts(file)
            for name in opened.keys():  # noqa: SIM118 - not a dict
                part = opened.get_slice(name)
                dtype = SAFETENSORS_DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise CheckpointError(
                        f"{name} in {file} is stored as {part.get_dtype()}, which cannot be read. Use a checkpoint in "
                        "16 or 32 bits."
                    )
                yield name, Entry(file, tuple(part.get_shape()), dtype, starts[name])

    def read(self, file: Path, entries: Mapping[str, Entry], target: Target) -> Iterator[tuple[str, Tensor]]:
        stored = _as_stored(entries, target)
        if stored:
            with _open(file) as opened:  # once, so that all views share one mapping
                for name in stored:
                    yield name, opened.get_tensor(name)

        yield from _converted(entries, target, self.rows)

    def rows(self, entry: Entry, name: str, start: int, end: int) -> Tensor:
        # A mapping for each piece: pages of one for the whole file would count as ours until its end.
        row = entry.nbytes // entry.shape[0]
        at = entry.start + start * row
        before = at % mmap.ALLOCATIONGRANULARITY
        with entry.file.open("rb") as opened:
            try:
                mapped = mmap.mmap(
                    opened.fileno(), before + (end - start) * row, access=mmap.ACCESS_COPY, offset=at - before
                )
            except ValueError:
                raise CheckpointError(f"{entry.file} ends within {name}. Fetch the file again.") from None
        rows = torch.frombuffer(mapped, dtype=entry.dtype, offset=before)  # holds the mapping
        return rows.view(end - start, *entry.shape[1:])


class _Pickled:
    """``.bin`` files as torch saved them, opened with ``weights_only=True``: no code of the file runs."""

    piece_bytes = 16 << 20  # the file's whole table is read anew for each

    def entries(self, file: Path) -> Iterator[tuple[str, Entry]]:
        for name, tensor in self._load(file)[0].items():
            yield name, Entry(file, tuple(tensor.shape), tensor.dtype)

    def read(self, file: Path, entries: Mapping[str, Entry], target: Target) -> Iterator[tuple[str, Tensor]]:
        content, mapped = self._load(file)
        for name in _as_stored(entries, target):
            yield name, content.pop(name)
        if mapped:
            content.clear()

        def rows(entry: Entry, name: str, start: int, end: int) -> Tensor:
            return self.rows(entry, name, start, end) if mapped else content[name][start:end]

        yield from _converted(entries, target, rows)

    def rows(self, entry: Entry, name: str, start: int, end: int) -> Tensor:
        # Mapped anew for each piece: pages of one mapping would count as ours until its end.
        return self._load(entry.file)[0][name][start:end]

    @staticmethod
    def _load(file: Path) -> tuple[dict[str, Tensor], bool]:
        """The file's tensors, and whether they are mapped from it."""
        try:
            try:
                content, mapped = torch.load(file, map_location="cpu", weights_only=True, mmap=True), True
            except RuntimeError:  # files written before torch 1.6 cannot be mapped
                content, mapped = torch.load(file, map_location="cpu", weights_only=True), False
        except Exception as error:
            raise CheckpointError(
                f"{file} cannot be read as PyTorch weights ({error}). Fetch the file again."
            ) from error
        if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
            raise CheckpointError(f"{file} is no table of tensors by name. Use the file that came with the checkpoint.")
        return content, mapped


def _as_stored(entries: Mapping[str, Entry], target: Target) -> list[str]:
    """Names of the tensors that can be views of the file."""
    return [name for name, entry in entries.items() if target.takes(entry) and target.buffer is None]


def _converted(entries: Mapping[str, Entry], target: Target, rows: Rows) -> Iterator[tuple[str, Tensor]]:
    """The other tensors: brief views, or each copied to the target in pieces."""
    stored = set(_as_stored(entries, target))
    for name, entry in entries.items():
        if name in stored:
            continue
        if target.takes(entry):
            yield name, rows(entry, name, 0, entry.shape[0])
            continue
        out = target.memory(entry)
        for start, end in _steps(entry):
            out[start:end].copy_(rows(entry, name, start, end))
        yield name, out


def _steps(entry: Entry) -> Iterator[tuple[int, int]]:
    """Cuts a tensor's rows into pieces of about its format's ``piece_bytes``."""
    step = max(1, _format(entry.file).piece_bytes * entry.shape[0] // max(1, entry.nbytes))
    for start in range(0, entry.shape[0], step):
        yield start, min(start + step, entry.shape[0])


def _starts(file: Path) -> dict[str, int]:
    """The byte at which each tensor starts: a safetensors file is a length, so much JSON, and the tensors."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return {name: 8 + length + at["data_offsets"][0] for name, at in header.items() if name != "__metadata__"}


def _open(file: Path) -> Any:
    try:
        return safe_open(str(file), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read as safetensors ({error}). Fetch the file again.") from error


def _format(file: Path) -> _Format:
    return _Safetensors() if file.suffix == ".safetensors" else _Pickled()


class WeightFiles:
    """The tensors of a folder or a single file, by the names they have there."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @classmethod
    def find(cls, path: Path) -> WeightFiles:
        """Finds a folder's weights: an index, shards, or one file; safetensors before ``.bin``.

        Raises:
            CheckpointError: there are none, or shards that the index or the shards' own numbers name are missing.
        """
        if path.is_file():
            return cls([path])
        for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
            index = path / f"{stem}{suffix}.index.json"
            if index.is_file():
                return cls(_indexed(index))
            if (path / f"{stem}{suffix}").is_file():
                return cls([path / f"{stem}{suffix}"])
            shards = sorted(path.glob(f"{stem}-*-of-*{suffix}"))
            if shards:
                return cls(_numbered(shards))
        present = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
        raise CheckpointError(
            f"{path} holds no weights: neither model.safetensors, its shards, pytorch_model.bin nor "
            f"an index. It holds {', '.join(present[:8]) or 'nothing'}{' …' if len(present) > 8 else ''}."
        )

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Every tensor's place, from the files' headers."""
        return {name: entry for file in self.files for name, entry in _format(file).entries(file)}

    @property
    def names(self) -> list[str]:
        """Every tensor's name."""
        return list(self.entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.entries[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's dtype as stored."""
        return self.entries[name].dtype

    def nbytes(self, name: str) -> int:
        """A tensor's bytes as stored."""
        return self.entries[name].nbytes

    def read(
        self, names: Iterable[str], dtype: torch.dtype, device: torch.device | str, brief: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors by name, in ``dtype`` on ``device``, file by file.

        On the CPU, those that are stored so are views of the file. ``brief``: each holds until the next one, and no
        longer than that takes memory.
        """
        target = Target(dtype, torch.device(device))
        chosen = set(names)
        wanted = {name: entry for name, entry in self.entries.items() if name in chosen}  # in the file's order
        if brief:
            longest = max((e.numel for e in wanted.values() if not target.takes(e)), default=0)
            target = replace(target, buffer=torch.empty(longest, dtype=dtype, device=device))
        for file in self.files:
            entries = {name: entry for name, entry in wanted.items() if entry.file == file}
            if entries:
                yield from _format(file).read(file, entries, target)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yields a tensor as stored, in pieces of rows of bounded size."""
        entry = self.entries[name]
        file = _format(entry.file)
        for start, end in _steps(entry):
            yield file.rows(entry, name, start, end)

    def summary(self) -> str:
        """What is there, in a few words, for error messages."""
        stems: dict[str, int] = {}
        for name in self.names:
            stem = re.split(r"\.\d+\.", name)[0]
            stem = stem.removesuffix(".weight").removesuffix(".bias")
            stems[stem] = stems.get(stem, 0) + 1
        listed = sorted(stems, key=lambda stem: -stems[stem])[:6]
        return (
            f"{len(self.names)} tensors in {len(self.files)} file(s): "
            + ", ".join(f"{stem} ({stems[stem]})" for stem in listed)
            + (" …" if len(stems) > 6 else "")
        )


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / Path(name).name for name in names]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not a weight index ({error!r}). Fetch the file again.") from None
    _require_files(files, f"{index.name} names")
    return files


def _numbered(shards: list[Path]) -> list[Path]:
    match = re.search(r"-(\d+)-of-(\d+)(\.\w+)$", shards[0].name)
    if not match:
        return shards
    width, total = len(match[1]), int(match[2])
    stem = shards[0].name[: match.start()]
    files = [shards[0].parent / f"{stem}-{number:0{width}d}-of-{match[2]}{match[3]}" for number in range(1, total + 1)]
    _require_files(files, f"{shards[0].name} belongs to")
    return files


def _require_files(files: list[Path], why: str) -> None:
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{files[0].parent} lacks {len(missing)} of the {len(files)} shards that {why}: {', '.join(missing[:4])}"
            f"{' …' if len(missing) > 4 else ''}. Fetch the missing files."
        )

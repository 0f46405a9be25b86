"""A folder's weight files: which they are, and one table of all their tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .formats import Entry, Target, open_weights
from .names import count_by_part


class WeightFiles:
    """The tensors of some weight files, by the names they have there."""

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
        """Where every tensor is, from the files' headers."""
        return {entry.name: entry for file in self.files for entry in open_weights(file).entries()}

    @property
    def names(self) -> list[str]:
        """Every tensor's name."""
        return list(self.entries)

    def load(
        self, names: Iterable[str], dtype: torch.dtype, device: torch.device | str, transient: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors by name, in ``dtype`` on ``device``, file by file.

        On the CPU, those that are stored so are views of the file. With ``transient``, each tensor is valid until the
        next one only, and all share one buffer.
        """
        target, chosen = Target(dtype, torch.device(device)), set(names)
        wanted = [entry for name, entry in self.entries.items() if name in chosen]  # in the file's order
        if transient:
            longest = max((entry.numel for entry in wanted if not target.matches(entry)), default=0)
            target = Target(dtype, target.device, torch.empty(longest, dtype=dtype, device=device))
        for file in self.files:
            yield from open_weights(file).load((entry for entry in wanted if entry.file == file), target)

    def summary(self) -> str:
        """What is there, in a few words, for error messages."""
        parts = count_by_part(self.names)
        return (
            f"{len(self.names)} tensors in {len(self.files)} file(s): "
            + ", ".join(f"{part} ({count})" for part, count in parts.most_common(6))
            + (" …" if len(parts) > 6 else "")
        )


def _indexed(index: Path) -> list[Path]:
    """The shards that an index names; they lie beside it, whatever it says."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / Path(name).name for name in names]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not a weight index ({error!r}). Fetch the file again.") from None
    _require_files(files, f"{index.name} names")
    return files


def _numbered(shards: list[Path]) -> list[Path]:
    """All shards of a set of which some are there, from the numbers in their names."""
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

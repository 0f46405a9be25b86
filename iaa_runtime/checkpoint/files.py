"""A folder's weight files: which they are, and one table of all their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..config.small_files import check_links, load_json
from ..errors import CheckpointError, spelled
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
            shards = sorted(shard for shard in path.glob(f"{stem}-*-of-*{suffix}") if shard.is_file())
            if shards:
                return cls(_numbered(shards))
        present = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
        check_links(path / name for name in present if name.endswith((".safetensors", ".bin", ".index.json")))
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


def path_parts(text: str) -> list[str]:
    """The names of which a path in a checkpoint's file consists, whichever system wrote it; at least one, maybe empty.

    Of one that does not stay below where it starts (absolute, on a drive, a home or a share, or upwards), the last
    alone: Windows logs in to a share that it is asked to look at.
    """
    names = re.split(r"[/\\:]", text)
    parts = [name for name in names if name not in ("", ".", "..")] or [""]
    leaves = not names[0] or names[0].startswith("~") or ":" in text or ".." in names
    return parts[-1:] if leaves else parts


def _indexed(index: Path) -> list[Path]:
    """The shards that an index names; they lie beside it, whatever it says."""
    try:
        names = sorted({path_parts(name)[-1] for name in load_json(index)["weight_map"].values()})
    except CheckpointError as error:
        raise CheckpointError(f"{index} is not a weight index. {error}") from None
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not a weight index ({spelled(error)}). Fetch the file again.") from None
    return _present(index.parent, names, len(names), f"{index.name} names")


def _numbered(shards: list[Path]) -> list[Path]:
    """All shards of a set of which some are there, from the numbers in their names."""
    first = shards[0]
    match = re.search(r"-(\d+)-of-(\d+)(\.\w+)$", first.name)
    if not match:
        return shards
    width, total = len(match[1]), int(match[2])
    stem = first.name[: match.start()]
    names = (f"{stem}-{number:0{width}d}-of-{match[2]}{match[3]}" for number in range(1, total + 1))
    return _present(first.parent, names, total, f"{first.name} belongs to")


def _present(folder: Path, names: Iterable[str], total: int, why: str) -> list[Path]:
    """The files of ``total`` names, walked through no further than files can be there, however many are promised.

    Raises:
        CheckpointError: some are missing.
    """
    there = {file.name for file in folder.iterdir() if file.is_file()}
    found, missing = list[Path](), list[str]()
    for name in names:
        if name in there:
            found.append(folder / name)
        elif len(missing) <= len(there):
            missing.append(name)
        else:
            break
    if missing:
        check_links(folder / name for name in missing)
        raise CheckpointError(
            f"{folder} lacks {total - len(found)} of the {total} shards that {why}: "
            f"{', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}. Fetch the missing files."
        )
    return found

"""A checkpoint on disk: found, checked, and loaded bank by bank.

It hands tensors out under our own names and knows no module of the network. Only headers are looked at until tensors of
a bank are asked for.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import BANK_NAMES, BankName, IAAConfig, Task, VisionConfig
from ..config.settings import load_settings
from ..config.small_files import check_links, load_json
from ..errors import CheckpointError, ConfigError
from . import names
from .files import WeightFiles, path_parts
from .formats import Entry, open_weights
from .tower import find_tower
from .writer import LazyTensor

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo_checkpoint"
"""The small built-in checkpoint: a real IAA model that knows only coloured shapes."""

PRECISION = "iaa_precision"
"""The setting of config.json that says to what a checkpoint's large matrices were converted."""

FULL = "full"
"""Asks for large matrices as they were published, in the dtype of all others."""

CONVERT_AGAIN = (
    "It was converted for other tasks: convert the checkpoint it was made from for this one too (iaa convert --task)."
)

MERGED, MERGED_TASKS = "iaa_merged_adaptors", "iaa_merged_adaptor_tasks"
"""The settings that name the adaptors that were merged into its matrices, each as digest and strength, and the task of
each digest."""

Change = Callable[[int, Tensor], Tensor]
"""Makes rows of a tensor anew: the number of the first, and the rows as stored -> the rows that stand for them."""


class Checkpoint:
    """An IAA checkpoint in the published layout.

    Args:
        path: the folder (or a .json file in it), or one weight file that holds everything, with config.json and
            tokenizer.json beside it.
        vision_tower: folder of the CLIP tower, when it is neither in the shards nor where the config says.

    Attributes:
        folder: where config.json and the tokenizer are.
        config: the geometry.
        config_raw: config.json as it is.
        precision: what its large matrices were converted to (``iaa convert``); None where they are as published.
        files: the weights; the tower's, too, where it is in the shards.

    Raises:
        CheckpointError: files are missing, or names are unexpected.
        ConfigError: the config describes something else.
    """

    def __init__(self, path: str | Path, vision_tower: str | Path | None = None) -> None:
        path = Path(os.path.expanduser(path))  # which leaves a user that does not exist as it is
        if not os.path.exists(path):
            check_links([path])
            fetch = " A repository of the Hugging Face hub is fetched if you add download=True (or --download)."
            raise CheckpointError(
                f"There is no checkpoint at {path}. Give a folder with config.json and the weights."
                + fetch * (re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()) is not None)
            )
        if path.is_file() and path.suffix.lower() == ".json":  # config.json, or an index
            path = path.parent
        self.folder = path.parent if path.is_file() else path
        self.config_raw = load_json(self.folder / "config.json")
        self.precision: str | None = self.config_raw.get(PRECISION)
        if not isinstance(self.precision, str | None):
            raise ConfigError(
                f"{self.folder / 'config.json'} sets {PRECISION!r} to {self.precision!r}, which is no precision. "
                "Convert the checkpoint anew."
            )
        self.config = IAAConfig.from_dict(self.config_raw, str(self.folder / "config.json"))
        for name in ("generation_config.json", "preprocessor_config.json"):
            load_settings(self.folder / name)
        self.files = WeightFiles.find(path)
        self._tower, self._searched = find_tower(self.folder, self.files, self.config.mm_vision_tower, vision_tower)
        self._tower_prefix = self._tower.prefix if self._tower else names.CLIP_PREFIX
        self._entries = {bank: self._find_entries(bank) for bank in BANK_NAMES}  # by our names
        self._changes: Mapping[tuple[BankName, str], Change] = {}
        self._check_quantizer()
        self._check_unknown()
        self._check_counts()

    # What is there ---------------------------------------------------------------------------------------------------

    @property
    def vision(self) -> VisionConfig | None:
        """The tower's geometry; None when no tower was found (then only tasks without images run)."""
        return self._tower.config if self._tower else None

    @property
    def without_pictures(self) -> bool:
        """Whether it was converted for Text alone, and so needs no tower."""
        return self.precision is not None and not any(self.has(task.stack_bank) for task in Task if task.sees)

    def require_vision(self) -> VisionConfig:
        """The tower's geometry.

        Raises:
            CheckpointError: there is none; names every place looked at.
        """
        if self.without_pictures:
            raise CheckpointError(f"{self.folder} holds nothing that sees pictures. {CONVERT_AGAIN}")
        if self._tower is None:
            raise CheckpointError(
                f"The CLIP vision tower {self.config.mm_vision_tower!r} of {self.folder} was not found. Looked at: "
                + "; ".join(self._searched)
                + f". Get {'/'.join(path_parts(self.config.mm_vision_tower))} (config.json and model.safetensors), put "
                "it into a folder of that name beside the checkpoint, or pass its folder as vision_tower."
            )
        return self._tower.config

    def has(self, bank: BankName) -> bool:
        """Whether any tensor of the bank is there."""
        return bool(self._entries[bank])

    def names(self, bank: BankName) -> list[str]:
        """Our names of the bank's tensors that are on disk."""
        return list(self._entries[bank])

    def nbytes(self, bank: BankName) -> int:
        """Bytes of the bank as stored."""
        return sum(entry.nbytes for entry in self._entries[bank].values())

    def dtypes(self, bank: BankName) -> set[str]:
        """Names of the dtypes in which the bank is stored, such as ``"bfloat16"``."""
        return {_spelled(entry.dtype) for entry in self._entries[bank].values()}

    def resolve_precision(self, wanted: str | None) -> str | None:
        """The precision to open it in: the one it was converted to, else ``wanted``.

        Args:
            wanted: None for what it was converted to, if it was; ``FULL`` only for what was not.

        Raises:
            ConfigError: it was converted to another than ``wanted``.
        """
        if self.precision is not None and wanted not in (None, self.precision):
            raise ConfigError(
                f"{self.folder} was converted to {self.precision}, of which nothing else can be made. Open it as "
                f"it is, or the checkpoint that it was made from in {wanted}."
            )
        return self.precision or (None if wanted == FULL else wanted)

    def merged_for(self, task: Task) -> Any:
        """The setting ``MERGED`` as far as it is about a task; None if nothing was merged for it.

        Older notes do not say for which task they are, and so count for each.
        """
        noted, tasks = self.config_raw.get(MERGED), self.config_raw.get(MERGED_TASKS)
        if not isinstance(noted, list) or not isinstance(tasks, dict):
            return noted
        return [row for row in noted if not _is_for_another(row, tasks, task)] or None

    # Its tensors -----------------------------------------------------------------------------------------------------

    def load(
        self,
        bank: BankName,
        names: Iterable[str],
        dtype: torch.dtype,
        device: torch.device | str,
        transient: bool = False,
    ) -> Iterator[tuple[str, Tensor]]:
        """Loads tensors of a bank: yields them by our names, each straight in ``dtype`` on ``device``, one at a time.

        With ``transient``, each is valid until the next one only (see :meth:`WeightFiles.load`).
        """
        names = list(names)
        for name in (name for name in names if (bank, name) in self._changes):
            yield name, torch.cat([rows.to(dtype) for rows in self.chunks(bank, name, device)])
        ours = {self._entries[bank][name].name: name for name in names if (bank, name) not in self._changes}
        for name, tensor in self._files(bank).load(ours, dtype, device, transient):
            yield ours[name], tensor

    def chunks(self, bank: BankName, name: str, device: torch.device | str) -> Iterator[Tensor]:
        """Yields one of the bank's tensors in chunks of rows, as stored (or as changed), on ``device``."""
        entry, change, first = self._entries[bank][name], self._changes.get((bank, name)), 0
        for rows in open_weights(entry.file).chunks(entry, torch.device(device)):
            yield rows if change is None else change(first, rows)
            first += len(rows)

    def embedding_dtype(self, bank: BankName) -> torch.dtype | None:
        """The dtype in which a bank's token embedding is stored; None where it has none."""
        entry = self._entries[bank].get(names.EMBEDDING_WEIGHT)
        return entry.dtype if entry is not None else None

    def stored(self, bank: BankName, name: str) -> LazyTensor:
        """One of the bank's tensors as it is stored, to be written elsewhere."""
        entry = self._entries[bank][name]
        # What was changed would be rounded back to 8 bits, most of it to what it was.
        rounds = (bank, name) in self._changes and entry.dtype.itemsize == 1
        dtype = torch.bfloat16 if rounds else entry.dtype
        return LazyTensor(entry.shape, dtype, partial(self.chunks, bank, name, "cpu"))

    def changed(self, changes: Mapping[tuple[BankName, str], Change], settings: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint with some of its tensors made anew whenever they are read; nothing is written.

        Args:
            changes: by bank and our name of the tensor.
            settings: what its config.json says besides.
        """
        twin = copy.copy(self)
        twin._changes, twin.config_raw = changes, {**self.config_raw, **settings}
        return twin

    # Checks ----------------------------------------------------------------------------------------------------------

    def check(
        self, bank: BankName, expected: Mapping[str, tuple[int, ...]], whole: Mapping[str, torch.dtype] | None = None
    ) -> None:
        """Compares a bank's tensors with what its modules need.

        Args:
            bank: which.
            expected: names and shapes.
            whole: dtypes of those that are stored as whole numbers; the others must be floating point.

        Raises:
            CheckpointError: lists the first few tensors that are missing, unexpected, or of another shape or dtype.
        """
        if bank == "vision":
            width = self.require_vision().hidden_size
            if width != self.config.mm_hidden_size:
                raise CheckpointError(
                    f"The vision tower of {self.folder} is {width} wide, but config.json (mm_hidden_size) expects "
                    f"{self.config.mm_hidden_size}. Use {self.config.mm_vision_tower!r}, with which it was trained."
                )
        entries, where = self._entries[bank], f"Bank {bank!r} of {self.folder}"
        missing = [names.published_name(bank, name, self._tower_prefix) for name in expected.keys() - entries.keys()]
        if missing:
            raise CheckpointError(
                f"{where} lacks {len(missing)} of {len(expected)} tensors: {_few(missing)}. The folder holds "
                f"{self._files(bank).summary()}. Is the download complete, and does config.json belong to these "
                "weights?"
            )
        unused = self._behind_selection(expected) if bank == "vision" else ()
        unexpected = [entries[name].name for name in entries.keys() - expected.keys() if not name.startswith(unused)]
        if unexpected:
            raise CheckpointError(
                f"{where} has {len(unexpected)} tensors that config.json does not account for: {_few(unexpected)}. "
                "Does config.json (layers, iaa_insert_layers, projector) belong to these weights?"
            )
        wrong = [
            f"{entries[name].name} is {list(entries[name].shape)}, not {list(shape)}"
            for name, shape in expected.items()
            if entries[name].shape != shape
        ]
        if wrong:
            raise CheckpointError(
                f"{where} has {len(wrong)} tensors of the wrong shape: {_few(wrong)}. Do the sizes in config.json "
                "belong to these weights?"
            )
        wrong = [
            f"{entries[name].name} is {_spelled(entries[name].dtype)}"
            for name in expected
            if not _fits(entries[name].dtype, (whole or {}).get(name))
        ]
        if wrong:
            raise CheckpointError(
                f"{where} has {len(wrong)} tensors in dtypes that no weight has: {_few(wrong)}. Use the checkpoint in "
                "16 or 32 bits, or one that iaa convert made."
            )

    def _check_quantizer(self) -> None:
        """Raises for weights that another program put into fewer bits."""
        marks = [name for name in self.files.names if name.endswith(names.OTHER_QUANTIZATIONS)]
        if self.precision is None and (marks or "quantization_config" in self.config_raw):
            sign = _few(marks, 2) if marks else "quantization_config in config.json"
            raise CheckpointError(
                f"{self.folder} was quantized by another program ({sign}), which is not read. Use the checkpoint in 16 "
                "bits, with --precision or the Loader's weights, or make it smaller with iaa convert."
            )

    def _check_unknown(self) -> None:
        unknown = names.unknown_names(self.files.names)
        if unknown:
            raise CheckpointError(
                f"{self.folder} holds {len(unknown)} tensors that no IAA checkpoint has: {_few(unknown)}. It holds "
                f"{self.files.summary()}. Is this an IAA checkpoint in the published layout?"
            )
        if not self.has("base"):
            raise CheckpointError(
                f"{self.folder} holds no language model layers (model.layers.*). It holds {self.files.summary()}."
            )

    def _check_counts(self) -> None:
        """Raises for layers that the weights cannot have, before a module is made of each."""
        layers: dict[BankName, IAAConfig | VisionConfig | None] = {"base": self.config, "vision": self.vision}
        for bank, config in layers.items():
            stored = len(self._entries[bank])
            if config is not None and stored and config.num_hidden_layers > stored:
                raise CheckpointError(
                    f"The config of {self.folder} speaks of {config.num_hidden_layers} layers in bank {bank!r}, of "
                    f"which the weights hold {stored} tensors. Does it belong to these weights?"
                )

    def _behind_selection(self, used: Iterable[str]) -> tuple[str, ...]:
        """Prefixes of the tower's parts behind the selected layer: in every CLIP checkpoint, never needed."""
        layers = [names.tower_layer(number) for number in range(self.require_vision().num_hidden_layers)]
        return (names.TOWER_END, *(layer for layer in layers if not any(name.startswith(layer) for name in used)))

    def _files(self, bank: BankName) -> WeightFiles:
        return self._tower.files if bank == "vision" and self._tower else self.files

    def _find_entries(self, bank: BankName) -> dict[str, Entry]:
        if bank == "vision" and self._tower is None:
            return {}
        entries = self._files(bank).entries
        return {ours: entries[name] for ours, name in names.names_in(bank, entries, self._tower_prefix).items()}


def _fits(stored: torch.dtype, whole: torch.dtype | None) -> bool:
    return stored.is_floating_point if whole is None else stored == whole


def _spelled(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _few(items: Iterable[str], limit: int = 4) -> str:
    items = sorted(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def _is_for_another(row: object, tasks: Mapping[str, Any], task: Task) -> bool:
    digest = row[0] if isinstance(row, list) and row else None
    return isinstance(digest, str) and tasks.get(digest, task.value) != task.value

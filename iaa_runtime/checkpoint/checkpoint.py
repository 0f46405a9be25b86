"""A checkpoint on disk: found, checked, and read bank by bank.

This is the only place that knows the names which checkpoints give to tensors. It hands tensors out under our own names
and knows no module. Only headers are read until a bank is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import BANK_NAMES, PUBLISHED_VISION_TOWER, BankName, IAAConfig, VisionConfig
from ..errors import CheckpointError
from .files import WeightFiles

PREFIXES: dict[BankName, dict[str, str]] = {
    "base": {"layers.": "model.layers."},
    "text": {"embed_tokens.": "model.embed_tokens.", "norm.": "model.norm.", "lm_head.": "lm_head."},
    "mm": {
        "layers.": "model.condition_layers.",
        "embed_tokens.": "model.embed_tokens_condition.",
        "norm.": "model.norm_condition.",
        "lm_head.": "lm_head_condtion.",  # sic
        "projector.": "model.mm_projector.",
    },
    "g": {
        "layers.": "model.condition_layers_grounding.",
        "embed_tokens.": "model.embed_tokens_condition_grounding.",
        "norm.": "model.norm_condition_grounding.",
        "lm_head.": "lm_head_condtion_grounding.",  # sic
        "projector.": "model.mm_projector_G.",
    },
}
"""Our names' prefixes, bank by bank, and the published ones. The tower's prefix differs and is looked up."""

TOWER_MARK = "embeddings.class_embedding"
"""What stands before this name is the prefix of the vision tower's names."""

IGNORED_SUFFIXES = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""Buffers that older library versions saved and that are computed here."""


@dataclass(frozen=True)
class Tower:
    """Where the vision tower's weights and geometry are."""

    files: WeightFiles
    prefix: str
    config: VisionConfig


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}. An IAA checkpoint is a folder with config.json, tokenizer.json "
            "and the weights; give the folder that holds them."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Fetch the file again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object. Fetch the file again.")
    return content


def _few(names: Iterable[str], limit: int = 4) -> str:
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


class Checkpoint:
    """An IAA checkpoint in the published layout.

    Args:
        path: the folder, or one weight file that holds everything, with config.json and tokenizer.json beside it.
        vision_tower: folder of the CLIP tower, when it is neither in the shards nor where the config says.

    Attributes:
        folder: where config.json and the tokenizer are.
        config: the geometry.

    Raises:
        CheckpointError: files are missing, or names are unexpected.
        ConfigError: the config describes something else.
    """

    def __init__(self, path: str | Path, vision_tower: str | Path | None = None) -> None:
        path = Path(path).expanduser()
        if not path.exists():
            raise CheckpointError(f"There is no checkpoint at {path}. Give a folder with config.json and the weights.")
        self.folder = path.parent if path.is_file() else path
        self.config_raw = _read_json(self.folder / "config.json")
        self.config = IAAConfig.from_dict(self.config_raw, str(self.folder / "config.json"))
        self.files = WeightFiles.find(path)
        self._tower, self._looked = self._find_tower(vision_tower)
        self._check_unexpected()

    # Banks -----------------------------------------------------------------------------------------------------------

    @property
    def vision(self) -> VisionConfig | None:
        """The tower's geometry; None when no tower was found (then only tasks without images run)."""
        return self._tower.config if self._tower else None

    def require_vision(self) -> VisionConfig:
        """The tower's geometry.

        Raises:
            CheckpointError: there is none; names every place looked at.
        """
        if self._tower is None:
            raise CheckpointError(
                f"The CLIP vision tower {self.config.mm_vision_tower!r} of {self.folder} was not found. Looked at: "
                + "; ".join(self._looked)
                + f". Get {self.config.mm_vision_tower} (config.json and model.safetensors), put it into a folder of "
                "that name beside the checkpoint, or pass its folder as vision_tower."
            )
        return self._tower.config

    def has(self, bank: BankName) -> bool:
        """Whether any tensor of the bank is there."""
        return bool(self._names(bank))

    def nbytes(self, bank: BankName) -> int:
        """Bytes of the bank as stored."""
        files, names = self._source(bank)
        return sum(files.nbytes(name) for name in names.values())

    def dtypes(self, bank: BankName) -> set[str]:
        """Names of the dtypes in which the bank is stored, such as ``"bfloat16"``."""
        files, names = self._source(bank)
        return {str(files.dtype(name)).removeprefix("torch.") for name in names.values()}

    def check(self, bank: BankName, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Compares a bank's names and shapes with what its modules need.

        Raises:
            CheckpointError: lists the first few tensors that are missing, unexpected or of another shape.
        """
        if bank == "vision":
            width = self.require_vision().hidden_size
            if width != self.config.mm_hidden_size:
                raise CheckpointError(
                    f"The vision tower of {self.folder} is {width} wide, but config.json (mm_hidden_size) expects "
                    f"{self.config.mm_hidden_size}. Use {self.config.mm_vision_tower!r}, with which it was trained."
                )
        files, names = self._source(bank)
        where = f"Bank {bank!r} of {self.folder}"
        missing = [self._published(bank, name) for name in expected.keys() - names.keys()]
        if missing:
            raise CheckpointError(
                f"{where} lacks {len(missing)} of {len(expected)} tensors: {_few(missing)}. The folder holds "
                f"{files.summary()}. Is the download complete, and does config.json belong to these weights?"
            )
        unused = self._behind_selection(expected) if bank == "vision" else ()
        unexpected = [names[n] for n in names.keys() - expected.keys() if not n.startswith(unused)]
        if unexpected:
            raise CheckpointError(
                f"{where} has {len(unexpected)} tensors that config.json does not account for: {_few(unexpected)}. "
                "Does config.json (layers, iaa_insert_layers, projector) belong to these weights?"
            )
        wrong = {names[n]: (files.shape(names[n]), shape) for n, shape in expected.items()}
        wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
        if wrong:
            listed = [f"{name} is {list(got)}, not {list(want)}" for name, (got, want) in wrong.items()]
            raise CheckpointError(
                f"{where} has {len(wrong)} tensors of the wrong shape: {_few(listed)}. Do the sizes in config.json "
                "belong to these weights?"
            )

    def read(
        self,
        bank: BankName,
        names: Iterable[str],
        dtype: torch.dtype,
        device: torch.device | str,
        brief: bool = False,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields the bank's tensors by our names, each straight in ``dtype`` on ``device``, one at a time.

        ``brief`` is as in :meth:`WeightFiles.read`.
        """
        files, published = self._source(bank)
        ours = {published[name]: name for name in names}
        for name, tensor in files.read(ours, dtype, device, brief):
            yield ours[name], tensor

    def stored_dtypes(self, bank: BankName) -> dict[str, torch.dtype]:
        """What each of the bank's tensors is stored in, by our names."""
        files, published = self._source(bank)
        return {name: files.dtype(theirs) for name, theirs in published.items()}

    def pieces(self, bank: BankName, name: str, device: torch.device | str) -> Iterator[Tensor]:
        """Yields one of the bank's tensors in pieces of rows, each in the dtype it is stored in, on ``device``."""
        files, published = self._source(bank)
        for rows in files.pieces(published[name]):
            yield rows.to(device)

    def read_stored(self, bank: BankName, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yields the bank's tensors by our names on the CPU, each in the dtype it is stored in."""
        files, published = self._source(bank)
        for name in names:
            theirs = published[name]
            yield from ((name, tensor) for _, tensor in files.read([theirs], files.dtype(theirs), "cpu"))

    def names(self, bank: BankName) -> list[str]:
        """Our names of the bank's tensors that are on disk."""
        return list(self._names(bank))

    # Names -----------------------------------------------------------------------------------------------------------

    def _source(self, bank: BankName) -> tuple[WeightFiles, dict[str, str]]:
        files = self._tower.files if bank == "vision" and self._tower else self.files
        return files, self._names(bank)

    def _names(self, bank: BankName) -> dict[str, str]:
        """Our name -> published name, for every tensor of the bank that is on disk."""
        if bank == "vision":
            if self._tower is None:
                return {}
            prefixes, files = {"tower.": self._tower.prefix}, self._tower.files
        else:
            prefixes, files = PREFIXES[bank], self.files
        return {
            ours + name[len(theirs) :]: name
            for ours, theirs in prefixes.items()
            for name in files.names
            if name.startswith(theirs) and not name.endswith(IGNORED_SUFFIXES)
        }

    def _published(self, bank: BankName, name: str) -> str:
        prefixes = {"tower.": self._tower.prefix} if bank == "vision" and self._tower else PREFIXES[bank]
        for ours, theirs in prefixes.items():
            if name.startswith(ours):
                return theirs + name[len(ours) :]
        raise KeyError(name)

    def _check_unexpected(self) -> None:
        known = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes.values())
        # Also where the tower is taken from elsewhere, or cannot be used for want of its geometry.
        prefix = _tower_prefix(self.files.names)
        tower = (prefix,) if prefix else ()
        strange = [
            name
            for name in self.files.names
            if not name.startswith(known + tower) and not name.endswith(IGNORED_SUFFIXES)
        ]
        if strange:
            raise CheckpointError(
                f"{self.folder} holds {len(strange)} tensors that no IAA checkpoint has: {_few(strange)}. It holds "
                f"{self.files.summary()}. Is this an IAA checkpoint in the published layout?"
            )
        absent = [bank for bank in BANK_NAMES if bank not in ("vision",) and not self.has(bank)]
        if "base" in absent:
            raise CheckpointError(
                f"{self.folder} holds no language model layers (model.layers.*). It holds {self.files.summary()}."
            )

    def _behind_selection(self, expected: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
        """Prefixes of the tower's parts behind the selected hidden state: in every CLIP checkpoint, never needed."""
        layers = [f"tower.encoder.layers.{number}." for number in range(self.require_vision().num_hidden_layers)]
        behind = [layer for layer in layers if not any(name.startswith(layer) for name in expected)]
        return ("tower.post_layernorm.", *behind)

    # The tower -------------------------------------------------------------------------------------------------------

    def _find_tower(self, given: str | Path | None) -> tuple[Tower | None, list[str]]:
        looked: list[str] = []
        named = Path(self.config.mm_vision_tower).expanduser()
        folders = [
            self.folder / named,
            self.folder / named.name,
            self.folder.parent / named,
            self.folder.parent / named.name,
        ]
        prefix = _tower_prefix(self.files.names)
        if given is not None:
            given = Path(given).expanduser()
            tower = self._tower_in(given, looked)
            if tower is None and prefix is not None and (given / "config.json").is_file():
                tower = Tower(self.files, prefix, _vision_config(given))
            if tower is None:
                raise CheckpointError(
                    f"No CLIP vision tower was found in {given}, which vision_tower names: {looked[-1]}. It needs a "
                    "config.json, and weights unless the checkpoint holds them."
                )
            return tower, looked
        if prefix is not None:
            return self._tower_in_shards(prefix, folders, looked), looked
        looked.append(f"the weights in {self.folder} (no name ends in {TOWER_MARK})")
        for folder in dict.fromkeys(folders):
            tower = self._tower_in(folder, looked)
            if tower is not None:
                return tower, looked
        return None, looked

    def _tower_in_shards(self, prefix: str, folders: list[Path], looked: list[str]) -> Tower | None:
        for folder in folders:
            if (folder / "config.json").is_file():
                return Tower(self.files, prefix, _vision_config(folder))
        if self.config.mm_vision_tower.rstrip("/").endswith(PUBLISHED_VISION_TOWER.rsplit("/", 1)[-1]):
            return Tower(self.files, prefix, VisionConfig())
        looked.append(
            f"the weights in {self.folder}, which hold a tower, but its geometry (a config.json) was not in "
            + " or ".join(map(str, folders))
        )
        return None

    def _tower_in(self, folder: Path, looked: list[str]) -> Tower | None:
        if not (folder / "config.json").is_file():
            looked.append(f"{folder} (no config.json there)")
            return None
        try:
            files = WeightFiles.find(folder)
        except CheckpointError:
            looked.append(f"{folder} (a config.json, but no weights)")
            return None
        prefix = _tower_prefix(files.names)
        if prefix is None:
            looked.append(f"{folder} (weights without {TOWER_MARK})")
            return None
        return Tower(files, prefix, _vision_config(folder))


def _tower_prefix(names: Iterable[str]) -> str | None:
    for name in names:
        if name.endswith(TOWER_MARK) and "text_model" not in name:
            return name[: -len(TOWER_MARK)]
    return None


def _vision_config(folder: Path) -> VisionConfig:
    preprocessor = folder / "preprocessor_config.json"
    return VisionConfig.from_dict(
        _read_json(folder / "config.json"),
        _read_json(preprocessor) if preprocessor.is_file() else None,
        str(folder / "config.json"),
    )

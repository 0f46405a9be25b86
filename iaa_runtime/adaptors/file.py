"""The adaptor file: one safetensors that holds the low-rank updates of a task, and in its metadata what they are.

Tensors have PEFT's names, with the published checkpoint's for its modules, such as
``base_model.model.model.condition_layers_grounding.0.mlp.up_proj.lora_A.weight``. Metadata are texts: the version of
this format, task, rank, alpha and the base's fingerprint; as JSON the phrases taught, how it was trained, and scores.

Symbols: R the rank, M inputs, O outputs of a matrix.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.formats import Entry, open_weights
from ..checkpoint.writer import LazyTensor, write_file
from ..config import Task
from ..config.teaching import LARGEST_RANK
from ..errors import AdaptorError, ConfigError, InputError, spelled
from .base import adapted_bank, adapted_matrices, base_fingerprint
from .low_rank import Update

SUFFIX = ".safetensors"
VERSION = "1"
"""Of the format: another one is not read."""
LARGEST_FILE = 2 << 30
"""Bytes. At the published size rank 16 takes 37 MB."""
LONGEST_TEXT = 1 << 20
"""Characters of all metadata together."""
MOST_PHRASES, LONGEST_PHRASES = 1000, 100_000
"""How many phrases a file names, and their characters together."""

_VERSION, _TASK, _RANK, _ALPHA, _BASE = "iaa_adaptor", "task", "rank", "alpha", "base"
_PHRASES, _TRAINING, _SCORES = "phrases", "training", "scores"
_PEFT, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Pair(NamedTuple):
    """A matrix's update before its scale: ``b @ a``, with ``a`` (R, M) and ``b`` (O, R)."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, eq=False)
class Adaptor:
    """What an adaptor file holds.

    Attributes:
        task: whose adaptor blocks it updates, MM or G.
        rank: R.
        alpha: updates are ``alpha / rank`` times ``b @ a``.
        base: :func:`.base.base_fingerprint` of the checkpoint that it was taught on.
        pairs: by our names of the matrices, as :func:`.base.adapted_matrices` has them; in 16 or 32 bits, on the CPU.
        phrases: what it was taught, in words; the first of many.
        training: settings it was trained with, as JSON has them.
        scores: ``before`` and ``after``, as JSON has them.
    """

    task: Task
    rank: int
    alpha: float
    base: str
    pairs: Mapping[str, Pair]
    phrases: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(a.nbytes + b.nbytes for a, b in self.pairs.values())

    @cached_property
    def digest(self) -> str:
        """A short name for what it computes."""
        digest = hashlib.sha256(f"{self.task.value} {self.rank} {self.alpha!r} {self.base}".encode())
        for name, pair in sorted(self.pairs.items()):
            digest.update(name.encode())
            for tensor in pair:
                digest.update(tensor.detach().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def updates(self, strength: float = 1.0) -> dict[str, Update]:
        """What is added to each matrix at a strength."""
        scale = strength * self.alpha / self.rank
        return {name: Update(a, b, scale) for name, (a, b) in self.pairs.items()}

    def check_fits(self, checkpoint: Checkpoint, where: str = "The adaptor") -> None:
        """Raises :class:`AdaptorError` where it was taught on another model; ``where`` begins the sentence."""
        found = base_fingerprint(checkpoint, self.task)
        if found != self.base:
            raise AdaptorError(
                f"{where} was taught on another model: it is for task {self.task.value} of {spelled(self.base)}, and "
                f"{checkpoint.folder} is {found!r}. Open the checkpoint that it was taught on, or teach it anew on "
                "this one."
            )
        matrices = adapted_matrices(checkpoint.config, self.task)
        for name, (a, b) in self.pairs.items():
            outputs, inputs = matrices.get(name, (0, 0))
            if (a.shape[1], b.shape[0]) != (inputs, outputs):
                raise AdaptorError(
                    f"{where} updates {name} as a matrix of {b.shape[0]} by {a.shape[1]}, and in {checkpoint.folder} "
                    f"{f'it has {outputs} by {inputs}' if outputs else 'there is none'}. Fetch the file again, or "
                    "teach it anew."
                )


def phrases_to_name(phrases: Iterable[str]) -> tuple[str, ...]:
    """The first different ones of the phrases that are taught, as many as a file names."""
    found, left = list[str](), LONGEST_PHRASES
    for phrase in dict.fromkeys(phrases):
        left -= len(_json(phrase))
        if left < 0 or len(found) == MOST_PHRASES:
            break
        found.append(phrase)
    return tuple(found)


def write_adaptor(path: str | Path, adaptor: Adaptor) -> None:
    """Writes an adaptor's file, whole or not at all, in its tensors' dtypes; one that is there is replaced.

    Raises:
        InputError: it cannot be written there.
        AdaptorError: a tensor is not a number everywhere, or has another rank; or it says too much of itself.
    """
    path, prefix = Path(path), _prefix(adaptor.task)
    _check_pairs(adaptor.pairs, adaptor.rank, "The adaptor to write")
    tensors: dict[str, LazyTensor] = {}
    for name, pair in sorted(adaptor.pairs.items()):
        for end, tensor in zip((_A, _B), pair, strict=True):
            tensors[prefix + name.removeprefix(names.BLOCKS) + end] = LazyTensor.of(tensor, tensor.dtype)
    about = {_VERSION: VERSION, _TASK: adaptor.task.value, _RANK: str(adaptor.rank), _ALPHA: repr(float(adaptor.alpha))}
    about |= {_BASE: adaptor.base, _PHRASES: _json(adaptor.phrases)}
    about |= {_TRAINING: _json(adaptor.training), _SCORES: _json(adaptor.scores)}
    if (length := sum(map(len, about.values()))) > LONGEST_TEXT:
        raise AdaptorError(
            f"The adaptor to write says {length:,} characters of itself, and at most {LONGEST_TEXT:,} are read back. "
            "Name fewer phrases."
        )
    try:
        write_file(path, tensors, about)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error


def read_adaptor(path: str | Path) -> Adaptor:
    """Reads an adaptor's file into memory. Nothing in it is believed before it was compared with what lies there.

    Raises:
        AdaptorError: there is no such file, it is no adaptor of ours or of another version, or its tensors are not what
            it says: shapes, numbers that are none.
        CheckpointError: it is no safetensors file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size if path.is_file() else -1
    except (OSError, ValueError) as error:
        raise AdaptorError(f"{path} cannot be opened ({error}). Check the path.") from None
    if size < 0:
        raise AdaptorError(f"There is no adaptor file {path}. Give one that iaa teach wrote ({SUFFIX}).")
    if path.suffix != SUFFIX:
        raise AdaptorError(f"{path} is no adaptor: their files end in {SUFFIX}. Give one that iaa teach wrote.")
    if size > LARGEST_FILE:
        raise AdaptorError(f"{path} has {size} bytes, which no adaptor has. Give one that iaa teach wrote.")
    file = open_weights(path)
    entries = list(file.entries())
    about = _About.read(file.metadata(), path)
    kept = _entries_by_matrix(entries, about, path)
    tensors = {
        entry.name: rows.clone()  # not a view: the file may be taught anew while it is in use
        for entry in entries
        for rows in [file.rows(entry, 0, entry.shape[0])]
    }
    pairs = {name: Pair(tensors[a.name], tensors[b.name]) for name, (a, b) in kept.items()}
    _check_pairs(pairs, about.rank, str(path))
    return Adaptor(about.task, about.rank, about.alpha, about.base, pairs, about.phrases, about.training, about.scores)


@dataclass(frozen=True)
class _About:
    """The metadata of a file."""

    task: Task
    rank: int
    alpha: float
    base: str
    phrases: tuple[str, ...]
    training: dict[str, Any]
    scores: dict[str, Any]

    @classmethod
    def read(cls, said: Mapping[str, str], path: Path) -> _About:
        if _VERSION not in said:
            raise AdaptorError(
                f"{path} is no adaptor of IAA: its metadata do not say {_VERSION!r}. Give a file that iaa teach wrote."
            )
        if said[_VERSION] != VERSION:
            raise AdaptorError(
                f"{path} is of version {spelled(said[_VERSION])} of the adaptor format, and this program reads "
                f"{VERSION}. Update it, or teach the adaptor anew."
            )
        if sum(map(len, said.values())) > LONGEST_TEXT:
            raise AdaptorError(f"{path} says more of itself than an adaptor does. Give a file that iaa teach wrote.")
        try:
            task, rank, alpha = Task.parse(said[_TASK]), int(said[_RANK]), float(said[_ALPHA])
            phrases = json.loads(said.get(_PHRASES, "[]"))
            training, scores = (json.loads(said.get(name, "{}")) for name in (_TRAINING, _SCORES))
            if not (task.sees and 1 <= rank <= LARGEST_RANK and math.isfinite(alpha)):
                raise ValueError(f"task {task.value}, rank {rank}, alpha {alpha}")
            if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
                raise ValueError("phrases are no list of texts")
            if not isinstance(training, dict) or not isinstance(scores, dict):
                raise ValueError("training or scores are no table")
            return cls(task, rank, alpha, said[_BASE], tuple(phrases), training, scores)
        except (ConfigError, LookupError, ValueError, RecursionError) as error:
            raise AdaptorError(
                f"What {path} says of itself cannot be meant ({spelled(str(error))}). Fetch the file again."
            ) from None


def _entries_by_matrix(entries: list[Entry], about: _About, path: Path) -> dict[str, tuple[Entry, Entry]]:
    """The two tensors of each matrix, by our names of the matrices; shapes are compared with the rank."""
    by_name = {entry.name: entry for entry in entries}
    prefix, found = _prefix(about.task), dict[str, tuple[Entry, Entry]]()
    for name, entry in by_name.items():
        other = name.removesuffix(_A) + _B if name.endswith(_A) else name.removesuffix(_B) + _A
        if not name.startswith(prefix) or not name.endswith((_A, _B)) or other not in by_name:
            raise AdaptorError(
                f"{path} holds {spelled(name)}, which is not half of an update of task {about.task.value}. Fetch the "
                "file again."
            )
        if entry.dtype not in _DTYPES:
            raise AdaptorError(f"{path} holds {spelled(name)} as {entry.dtype}, and not in 16 or 32 bits.")
        if len(entry.shape) != 2 or 0 in entry.shape or entry.shape[name.endswith(_B)] != about.rank:
            raise AdaptorError(
                f"{path} holds {spelled(name)} in the shape {list(entry.shape)}, which has not the rank {about.rank}. "
                "Fetch the file again."
            )
        if name.endswith(_A):
            found[names.BLOCKS + name.removeprefix(prefix).removesuffix(_A)] = entry, by_name[other]
    if not found:
        raise AdaptorError(f"{path} holds no update. Give a file that iaa teach wrote.")
    return found


def _check_pairs(pairs: Mapping[str, Pair], rank: int, where: str) -> None:
    for name, (a, b) in pairs.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
            raise AdaptorError(f"{where} updates {name} with {list(a.shape)} and {list(b.shape)}, not of rank {rank}.")
        for tensor in (a, b):
            if not torch.isfinite(tensor).all():
                raise AdaptorError(f"{where} holds numbers in {name} that are none (NaN or infinite). Teach it anew.")


def _prefix(task: Task) -> str:
    """What PEFT's names of the tensors of a task's blocks start with."""
    return _PEFT + names.PUBLISHED[adapted_bank(task)][names.BLOCKS]


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)

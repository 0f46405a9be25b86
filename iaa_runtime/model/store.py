"""Which banks of weights are in memory: loaded when first needed, moved by a host, freed one by one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..checkpoint.checkpoint import CONVERT_AGAIN, Checkpoint
from ..checkpoint.names import EMBEDDING_WEIGHT
from ..config import BANK_NAMES, BankName, IAAConfig, Task, VisionConfig
from ..errors import CheckpointError, ConfigError
from .banks import bank_shapes, build_bank, whole_numbers
from .dtypes import embedding_dtype
from .layers import Ops
from .linear.base import SpecialLinear
from .linear.kinds import Kinds, stored_kinds
from .linear.quantized import scale_name

log = logging.getLogger(__name__)


class Residency(Protocol):
    """A host's say in where weights are: called before banks are computed with."""

    def __call__(self, banks: Mapping[BankName, nn.Module], working_bytes: int) -> None:
        """Makes ``banks`` usable on the model's device, with ``working_bytes`` free beside them."""


@dataclass(frozen=True)
class BankWeights:
    """A bank's weights on disk, in the model's dtype and on its device: the :class:`.linear.base.Weights` of a bank."""

    checkpoint: Checkpoint
    bank: BankName
    dtype: torch.dtype
    device: torch.device

    def stored_dtype(self, name: str) -> torch.dtype:
        """The dtype that a weight is stored in."""
        return self.checkpoint.stored(self.bank, name).dtype

    def load(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yields weights; with ``transient``, each is valid until the next one only."""
        return self.checkpoint.load(self.bank, names, self.dtype, self.device, transient)

    def chunks(self, name: str) -> Iterator[Tensor]:
        """Yields a weight in chunks of rows, as stored."""
        return self.checkpoint.chunks(self.bank, name, self.device)

    @property
    def quantized(self) -> bool:
        """Whether the weights of quantized layers are stored as those keep them."""
        return self.checkpoint.precision is not None

    def as_stored(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors in the dtypes they are stored in; with ``transient``, each valid until the next one only."""
        by_dtype: dict[torch.dtype, list[str]] = {}
        for name in names:
            by_dtype.setdefault(self.stored_dtype(name), []).append(name)
        for dtype, alike in by_dtype.items():
            yield from self.checkpoint.load(self.bank, alike, dtype, self.device, transient)


def kinds_in(checkpoint: Checkpoint, kinds: Kinds) -> Kinds:
    """``kinds``, but adaptor blocks' queries and keys in 4 bits where a folder holds them so, as they once were."""
    for part, name in (("adaptor_query", "q_proj"), ("adaptor_key", "k_proj")):
        weight, banks = f"layers.0.self_attn.{name}.weight", (task.stack_bank for task in Task if task.sees)
        stored = {checkpoint.stored(bank, weight).dtype for bank in banks if weight in checkpoint.names(bank)}
        if torch.uint8 in stored:
            kinds = kinds._replace(**{part: kinds.matrix})
    return kinds


class BankStore:
    """The banks of one model.

    Args:
        checkpoint: where the weights come from.
        dtype: of weights, and of the scales of quantized ones.
        device: where weights are loaded to.
        ops: namespace of layer classes.
        kinds: of the blocks' matrices and the head.
        residency: called with the banks at hand before each computation; None where weights stay as loaded.
        on_load: called after each tensor that is loaded; what it raises ends the loading of that bank.

    Raises:
        CheckpointError: tensors are missing or have other shapes than the config says.
        ConfigError: a bank cannot be built of these kinds.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        ops: Ops | None,
        kinds: Kinds,
        residency: Residency | None = None,
        on_load: Callable[[], object] | None = None,
    ) -> None:
        self._checkpoint, self._dtype, self._device = checkpoint, dtype, device
        self._ops, self._kinds = ops, kinds_in(checkpoint, kinds)
        self._residency, self._on_load = residency, on_load
        self._modules: dict[BankName, nn.Module] = {}  # on no device while they are not loaded
        self._loaded: set[BankName] = set()
        for bank in self.present:
            checkpoint.check(bank, self._stored(bank), whole_numbers(bank, *self._stored_as))
            self._modules[bank] = self._build(bank)

    @property
    def present(self) -> tuple[BankName, ...]:
        """The banks that the checkpoint has."""
        return tuple(bank for bank in BANK_NAMES if self._checkpoint.has(bank))

    @property
    def loaded(self) -> tuple[BankName, ...]:
        """The banks whose weights are in memory."""
        return tuple(bank for bank in BANK_NAMES if bank in self._loaded)

    def load(self, name: BankName) -> nn.Module:
        """A bank's module; its weights are loaded on first use.

        Raises:
            ConfigError: there is no such bank.
            CheckpointError: the checkpoint lacks it.
        """
        if name in self._loaded:
            return self._modules[name]
        if name not in BANK_NAMES:
            raise ConfigError(f"There is no bank {name!r}. The banks are {', '.join(BANK_NAMES)}.")
        if name == "vision":
            self._checkpoint.require_vision()
        if name not in self._modules:
            remedy = "Use a complete checkpoint." if self._checkpoint.precision is None else CONVERT_AGAIN
            raise CheckpointError(f"{self._checkpoint.folder} holds no bank {name!r}, which is needed here. {remedy}")
        module, weights, start = self._modules[name], {}, time.perf_counter()
        for key, tensor in self._tensors(name, module):
            weights[key] = tensor
            if self._on_load is not None:
                self._on_load()
        module.load_state_dict(weights, assign=True)
        module.requires_grad_(False).eval()
        self._loaded.add(name)
        size = sum(tensor.nbytes for tensor in weights.values()) / 1e9
        log.debug("loaded bank %s: %.3g GB in %.1f s", name, size, time.perf_counter() - start)
        return module

    def unload(self, *banks: BankName) -> None:
        """Frees banks. They are loaded again when next needed."""
        for bank in self._loaded.intersection(banks):
            self._modules[bank] = self._build(bank)
            self._loaded.remove(bank)

    def use(self, banks: Sequence[BankName], working_bytes: int) -> None:
        """Makes banks ready to compute with, and asks the host for ``working_bytes`` beside them."""
        modules = {bank: self.load(bank) for bank in banks}
        if self._residency is not None:
            self._residency(modules, working_bytes)

    def _build(self, bank: BankName) -> nn.Module:
        shape = (self._checkpoint.config, self._checkpoint.vision)
        return build_bank(
            bank, *shape, self._ops, self._dtype, kinds=self._kinds, embedding_dtype=self._embedding_dtype(bank)
        )

    def _embedding_dtype(self, bank: BankName) -> torch.dtype:
        return embedding_dtype(self._checkpoint.embedding_dtype(bank), self._dtype)

    def _stored(self, bank: BankName) -> Mapping[str, tuple[int, ...]]:
        return bank_shapes(bank, *self._stored_as)

    @property
    def _stored_as(self) -> tuple[IAAConfig, VisionConfig | None, Kinds]:
        checkpoint = self._checkpoint
        return checkpoint.config, checkpoint.vision, kinds_in(checkpoint, stored_kinds(checkpoint.precision))

    def _tensors(self, bank: BankName, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """A bank's tensors one by one, as its module takes them."""
        weights = BankWeights(self._checkpoint, bank, self._dtype, self._device)
        # Not the module's own names: a host's layers may have no parameters until weights are assigned.
        plain, special = set(self._stored(bank)), dict[type[SpecialLinear], list[str]]()
        for path, layer in module.named_modules():
            if isinstance(layer, SpecialLinear):
                special.setdefault(type(layer), []).append(f"{path}.weight")
                plain -= {f"{path}.weight", scale_name(f"{path}.weight")}
        embedding = plain & {EMBEDDING_WEIGHT} if self._embedding_dtype(bank) != self._dtype else set()
        yield from weights.load(plain - embedding)
        yield from weights.as_stored(embedding)
        for kind, chosen in special.items():
            yield from kind.load(weights, chosen, self._dtype)

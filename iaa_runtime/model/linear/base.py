"""What the kinds of linear layer have in common: how one is made, and how it is filled from a checkpoint's weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]
"""Tensors by name: shape and dtype."""


class Weights(Protocol):
    """A bank's weights on disk, by the names that the bank's plain layers give to their tensors."""

    def stored_dtype(self, name: str) -> torch.dtype:
        """The dtype that a weight is stored in."""

    def load(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yields weights in the model's dtype; with ``transient``, each is valid until the next one only."""

    def chunks(self, name: str) -> Iterator[Tensor]:
        """Yields a weight in chunks of rows, as stored."""

    @property
    def quantized(self) -> bool:
        """Whether the weights of quantized layers are stored as those keep them, with their scales."""

    def as_stored(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yields tensors in the dtypes they are stored in; with ``transient``, each valid until the next one only."""


class SpecialLinear(nn.Module, ABC):
    """A linear layer without bias whose weight is kept otherwise than as a plain matrix.

    Takes the arguments of :class:`torch.nn.Linear`. Its tensors are parameters without gradient, which is what hosts
    place and stream.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        assert not bias, "no block matrix has a bias"
        self.in_features, self.out_features = in_features, out_features
        for name, (shape, stored) in self.tensors(
            in_features, out_features, dtype or torch.get_default_dtype()
        ).items():
            self._hold(name, torch.empty(shape, dtype=stored, device=device))

    def _hold(self, name: str, tensor: Tensor) -> None:
        self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    @classmethod
    @abstractmethod
    def tensors(cls, in_features: int, out_features: int, dtype: torch.dtype) -> Layout:
        """The tensors that stand for a weight (O, M) of a model in ``dtype``."""

    @classmethod
    @abstractmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Makes the tensors of layers from their weights.

        Args:
            weights: where they are.
            names: of the weights, such as ``layers.0.mlp.up_proj.weight``.
            dtype: the model's.

        Yields:
            Names (such as ``….weight``, ``….weight_scale``) and tensors, as the bank's module takes them.
        """

    @classmethod
    def products(cls, layers: Sequence[SpecialLinear], x: Tensor) -> list[Tensor]:
        """What layers of this kind make of one input, in the order of the layers."""
        return [layer(x) for layer in layers]

    @classmethod
    def working_bytes(cls, dtype: torch.dtype) -> int:
        """Bytes that a product takes beside its operands and its result."""
        return 0


def products(x: Tensor, *layers: nn.Module) -> list[Tensor]:
    """What layers make of one input, which those of one kind prepare once."""
    made: dict[nn.Module, Tensor] = {}
    for kind in dict.fromkeys(map(type, layers)):
        alike = [layer for layer in layers if type(layer) is kind]
        together: Callable[[Sequence[nn.Module], Tensor], list[Tensor]] | None = getattr(kind, "products", None)
        made |= zip(alike, together(alike, x) if together is not None else (layer(x) for layer in alike), strict=True)
    return [made[layer] for layer in layers]

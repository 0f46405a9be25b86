"""The five banks of weights, each one module that is loaded, moved and freed as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..config import BankName, IAAConfig, VisionConfig
from . import ops as default_ops
from .layers import Block, Factory, Ops
from .linear.kinds import PLAIN, Kinds
from .projector import make_projector
from .vision import VisionTower


class BaseBank(nn.Module):
    """The frozen Llama's decoder layers, used by every task."""

    def __init__(self, config: IAAConfig, make: Factory) -> None:
        super().__init__()
        blocks = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(Block(config, make, make.matrix, make.matrix) for _ in blocks)


class HeadBank(nn.Module):
    """What turns tokens into vectors and back: embedding, final norm, head. With the base, that is the Text task."""

    def __init__(self, config: IAAConfig, make: Factory) -> None:
        super().__init__()
        self.embed_tokens = make.token_embedding(config.vocab_size, config.hidden_size)
        self.norm = make.rms_norm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = make.head(config.hidden_size, config.vocab_size)


class AdaptorBank(HeadBank):
    """One adaptor set (MM or G): its own embedding, norm and head, the inserted layers, and the projector."""

    def __init__(self, config: IAAConfig, make: Factory) -> None:
        super().__init__(config, make)
        query, key = make.adaptor_query, make.adaptor_key
        self.layers = nn.ModuleList(Block(config, make, query, key) for _ in config.iaa_insert_layers)
        self.projector = make_projector(config, make)


class VisionBank(nn.Module):
    """The CLIP vision tower."""

    def __init__(self, config: IAAConfig, vision: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.tower = VisionTower(config, vision, make)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, N, mm_hidden_size)."""
        features: Tensor = self.tower(pixel_values)
        return features


def build_bank(
    name: BankName,
    config: IAAConfig,
    vision: VisionConfig | None,
    ops: Ops | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "meta",
    kinds: Kinds = PLAIN,
    embedding_dtype: torch.dtype | None = None,
) -> nn.Module:
    """Builds a bank's module; on the default ``meta`` device it takes no memory until weights are assigned.

    Args:
        name: which bank.
        config: the checkpoint's geometry.
        vision: the tower's geometry; needed for ``"vision"`` alone.
        ops: namespace of layer classes; :mod:`iaa_runtime.model.ops`, which is ``torch.nn``'s, when None.
        dtype: of the parameters.
        device: where the parameters are made.
        kinds: of the blocks' matrices and the head.
        embedding_dtype: of the token embedding; ``dtype`` when None.
    """
    make = Factory(ops if ops is not None else default_ops, dtype, torch.device(device), kinds, embedding_dtype)
    if name == "base":
        return BaseBank(config, make)
    if name == "text":
        return HeadBank(config, make)
    if name == "vision":
        assert vision is not None, "the vision bank needs the tower's geometry"
        return VisionBank(config, vision, make)
    return AdaptorBank(config, make)


@cache
def bank_shapes(
    name: BankName, config: IAAConfig, vision: VisionConfig | None, kinds: Kinds = PLAIN
) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of a bank's tensors, its matrices and head of the given kinds, without making them."""
    bank = build_bank(name, config, vision, kinds=kinds)
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in bank.state_dict().items()})


@cache
def whole_numbers(
    name: BankName, config: IAAConfig, vision: VisionConfig | None, kinds: Kinds
) -> Mapping[str, torch.dtype]:
    """Dtypes of those of a bank's tensors that are whole numbers, its matrices and head of the given kinds."""
    stored = build_bank(name, config, vision, kinds=kinds).state_dict()
    return MappingProxyType({name: t.dtype for name, t in stored.items() if not t.is_floating_point()})


@cache
def bank_bytes(
    name: BankName,
    config: IAAConfig,
    vision: VisionConfig | None,
    dtype: torch.dtype,
    kinds: Kinds = PLAIN,
    embedding_dtype: torch.dtype | None = None,
) -> Mapping[str, int]:
    """Bytes of each tensor of a bank; the arguments are those of :func:`build_bank`."""
    bank = build_bank(name, config, vision, dtype=dtype, kinds=kinds, embedding_dtype=embedding_dtype)
    return MappingProxyType({name: tensor.nbytes for name, tensor in bank.state_dict().items()})

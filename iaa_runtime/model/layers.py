"""One Llama decoder block: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Symbols: B rows, T new tokens, S tokens seen so far (T included), H hidden size, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import IAAConfig
from .attention import attend
from .branched_kv_cache import BranchedCache
from .fixed_kv_cache import FixedCache
from .kv_cache import KVCache
from .linear.base import SpecialLinear, products
from .linear.kinds import PLAIN, Kinds

Cache = KVCache | FixedCache | BranchedCache
MakeMatrix = Callable[[int, int], nn.Module]
"""Makes a matrix ``inputs -> outputs``."""


class Ops(Protocol):
    """A namespace of layer classes: :mod:`.ops`, or a host's of the same names."""

    @property
    def Linear(self) -> Callable[..., nn.Module]: ...  # noqa: N802
    @property
    def Embedding(self) -> Callable[..., nn.Module]: ...  # noqa: N802
    @property
    def RMSNorm(self) -> Callable[..., nn.Module]: ...  # noqa: N802
    @property
    def LayerNorm(self) -> Callable[..., nn.Module]: ...  # noqa: N802
    @property
    def Conv2d(self) -> Callable[..., nn.Module]: ...  # noqa: N802


@dataclass(frozen=True)
class Factory:
    """Makes layers of one namespace, dtype and device; matrices and the head of the kinds that a precision wants.

    The token embedding has a dtype of its own, unless it is None.
    """

    ops: Ops
    dtype: torch.dtype
    device: torch.device
    kinds: Kinds = PLAIN
    embedding_dtype: torch.dtype | None = None

    def linear(self, inputs: int, outputs: int, bias: bool = False) -> nn.Module:
        """A plain linear layer ``inputs -> outputs``."""
        return self.ops.Linear(inputs, outputs, bias=bias, dtype=self.dtype, device=self.device)

    def matrix(self, inputs: int, outputs: int) -> nn.Module:
        """One of a decoder block's seven matrices, ``inputs -> outputs``."""
        return self._of_kind(self.kinds.matrix, inputs, outputs)

    def sensitive(self, inputs: int, outputs: int) -> nn.Module:
        """One of those of the seven whose rounding errors weigh most, ``inputs -> outputs``."""
        return self._of_kind(self.kinds.sensitive, inputs, outputs)

    def adaptor_query(self, inputs: int, outputs: int) -> nn.Module:
        """An adaptor block's q_proj, ``inputs -> outputs``."""
        return self._of_kind(self.kinds.adaptor_query, inputs, outputs)

    def adaptor_key(self, inputs: int, outputs: int) -> nn.Module:
        """An adaptor block's k_proj, ``inputs -> outputs``."""
        return self._of_kind(self.kinds.adaptor_key, inputs, outputs)

    def head(self, inputs: int, outputs: int) -> nn.Module:
        """The LM head, ``inputs -> outputs``."""
        return self._of_kind(self.kinds.head, inputs, outputs)

    def _of_kind(self, kind: type[SpecialLinear] | None, inputs: int, outputs: int) -> nn.Module:
        if kind is None:
            return self.linear(inputs, outputs)
        return kind(inputs, outputs, dtype=self.dtype, device=self.device)

    def embedding(self, entries: int, width: int) -> nn.Module:
        """A table of ``entries`` vectors."""
        return self.ops.Embedding(entries, width, dtype=self.dtype, device=self.device)

    def token_embedding(self, entries: int, width: int) -> nn.Module:
        """The table of ``entries`` tokens' vectors."""
        return self.ops.Embedding(entries, width, dtype=self.embedding_dtype or self.dtype, device=self.device)

    def rms_norm(self, width: int, eps: float) -> nn.Module:
        """Root-mean-square normalisation with a learned scale."""
        return self.ops.RMSNorm(width, eps=eps, dtype=self.dtype, device=self.device)

    def layer_norm(self, width: int, eps: float) -> nn.Module:
        """Layer normalisation with learned scale and shift."""
        return self.ops.LayerNorm(width, eps=eps, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Rotation:
    """Rotary position embedding of the T new tokens (Su et al., RoFormer, 2021), in Llama's half-split layout.

    ``cos`` and ``sin`` are (B or 1, 1, T, D), in the dtype of the activations; ``sin`` is negative in its first half,
    so that a rotation is ``x cos + swap(x) sin`` with the halves of ``x`` swapped: three operations a step and head.
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Rotation:
        """Builds the tables for ``positions`` (B or 1, T), in float32 before the cast: angles reach thousands."""
        exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
        angles = positions[:, None, :, None].float() * theta**-exponents
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return cls(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotates ``x`` (B, heads, T, D)."""
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin)


class Attention(nn.Module):
    """Causal self-attention in which groups of query heads share a key and value head."""

    def __init__(self, config: IAAConfig, make: Factory, query: MakeMatrix, key: MakeMatrix) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        width, shared = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = query(config.hidden_size, width)
        self.k_proj = key(config.hidden_size, shared)
        self.v_proj = make.sensitive(config.hidden_size, shared)
        self.o_proj = make.sensitive(width, config.hidden_size)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: Cache | None, slot: int) -> Tensor:
        """Attends from ``x`` (B, T, H) to itself and to what ``cache`` holds in ``slot``.

        Args:
            x: normalised activations.
            rotation: of the T positions.
            mask: (B, 1, T, S), see :class:`.kv_cache.Positions`; None means causal, or everything for T = 1.
            cache: keys and values are appended to it; None keeps nothing.
            slot: the block's number in the stack.

        Returns:
            (B, T, H).
        """
        q, k, v = (
            product.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)
            for product in products(x, self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotation(q), rotation(k)
        if cache is not None:
            k, v = cache.append(slot, k, v)
        out: Tensor = self.o_proj(attend(q, k, v, mask))
        return out


class MLP(nn.Module):
    """SwiGLU feed-forward (Shazeer, GLU Variants Improve Transformer, 2020)."""

    def __init__(self, config: IAAConfig, make: Factory) -> None:
        super().__init__()
        self.gate_proj = make.matrix(config.hidden_size, config.intermediate_size)
        self.up_proj = make.matrix(config.hidden_size, config.intermediate_size)
        self.down_proj = make.matrix(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        up, gate = products(x, self.up_proj, self.gate_proj)
        # In their own memory, unless gradients need them: fresh pages of this size take longer than the arithmetic.
        inner = F.silu(gate) * up if torch.is_grad_enabled() else F.silu(gate, inplace=True).mul_(up)
        del up, gate
        out: Tensor = self.down_proj(inner)
        return out


class Block(nn.Module):
    """A pre-norm decoder layer; base and adaptor layers are the same but for what makes q_proj and k_proj."""

    def __init__(self, config: IAAConfig, make: Factory, query: MakeMatrix, key: MakeMatrix) -> None:
        super().__init__()
        self.input_layernorm = make.rms_norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, make, query, key)
        self.post_attention_layernorm = make.rms_norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config, make)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: Cache | None, slot: int) -> Tensor:
        """(B, T, H) -> (B, T, H); the arguments are those of :meth:`Attention.forward`."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, mask, cache, slot)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out

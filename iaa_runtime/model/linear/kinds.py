"""Which kind of linear layer a model uses: for the decoder blocks' matrices, and for the head.

What a precision below 16 bits quantizes: the seven matrices of every decoder block, base and adaptors alike, and the LM
head. What stays in the model's dtype: embeddings, norms, projectors and the vision tower, which together are a tenth of
an 8B task and carry most of the risk. The head never goes below 8 bits, nor do v_proj and o_proj, a tenth of a block:
of the error that 4 bits bring they make nine tenths. Nor do q_proj and k_proj of adaptor blocks, with which they look
at the picture: in 4 bits they cost captions most of the objects that 4 bits cost. Activations stay in the model's
dtype, but for the products of :mod:`.int8_onednn`; so does the KV cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ...config import PRECISIONS as PRECISIONS
from ...errors import ConfigError
from .base import SpecialLinear
from .fp8 import Fp8Linear
from .fp8_widened import WidenedFp8Linear
from .int4 import Int4Linear
from .int4_packed import PackedInt4Linear, can_read_packed
from .int4_tiled import TiledInt4Linear, can_multiply_tiles
from .int8 import Int8Linear
from .int8_onednn import OneDNNInt8Linear, can_multiply_integers
from .onednn import OneDNNLinear, can_multiply
from .processor import is_intel


class Kinds(NamedTuple):
    """The kinds of linear layer of a model; None is the plain one.

    Attributes:
        matrix: of a decoder block's matrices.
        sensitive: of those among them whose errors weigh most, v_proj and o_proj.
        adaptor_query: of the adaptor blocks' q_proj.
        adaptor_key: of the adaptor blocks' k_proj.
        head: of the LM head.
    """

    matrix: type[SpecialLinear] | None = None
    sensitive: type[SpecialLinear] | None = None
    adaptor_query: type[SpecialLinear] | None = None
    adaptor_key: type[SpecialLinear] | None = None
    head: type[SpecialLinear] | None = None

    @classmethod
    def of(cls, kind: type[SpecialLinear], head: type[SpecialLinear] | None = None) -> Kinds:
        """One kind for all matrices of blocks, and one for the head, plain if None."""
        return cls(kind, kind, kind, kind, head)

    def working_bytes(self, dtype: torch.dtype) -> int:
        """Bytes that a product takes beside its operands and its result."""
        return max((kind.working_bytes(dtype) for kind in self if kind is not None), default=0)


PLAIN = Kinds()
QUANTIZED: dict[str, Kinds] = {
    "fp8": Kinds.of(Fp8Linear, head=Fp8Linear),
    "int8": Kinds.of(Int8Linear, head=Int8Linear),
    "int4": Kinds.of(Int8Linear, head=Int8Linear)._replace(matrix=Int4Linear),
}
"""By the name of the precision."""


def stored_kinds(precision: str | None) -> Kinds:
    """The kinds whose tensors a checkpoint holds that was converted to a precision; plain ones for None.

    Raises:
        ConfigError: there is no such precision.
    """
    if precision is not None and precision not in QUANTIZED:
        raise ConfigError(f"There is no precision {precision!r}. Choose one of {', '.join(QUANTIZED)}, or none.")
    return PLAIN if precision is None else QUANTIZED[precision]


def kinds_for(precision: str | None, dtype: torch.dtype, device: torch.device, *, hosted: bool = False) -> Kinds:
    """The kinds for a precision; for None the fastest that changes no weight.

    Args:
        precision: one of ``PRECISIONS``, or None.
        dtype: the model's.
        device: where the weights are.
        hosted: a host supplies the plain layers or moves the weights, so that they must be ordinary tensors.

    Raises:
        ConfigError: there is no such precision, or the device has no such numbers.
    """
    if precision == "fp8" and device.type == "mps":
        raise ConfigError("There are no 8-bit floats on Apple's GPUs. Use int8 or int4.")
    if precision is None:
        gains = dtype != torch.float32 or not is_intel()
        packed = not hosted and gains and can_multiply(dtype, device)
        return Kinds.of(OneDNNLinear) if packed else PLAIN
    kinds = stored_kinds(precision)
    faster: dict[type[SpecialLinear] | None, type[SpecialLinear]] = {}
    if can_multiply_tiles(device, dtype):
        faster[Int4Linear] = TiledInt4Linear
    if not hosted and device.type == "cpu":
        if can_multiply_integers():
            faster[Int8Linear] = OneDNNInt8Linear
        if can_read_packed():
            faster[Int4Linear] = PackedInt4Linear
        if can_multiply(dtype, device):
            faster[Fp8Linear] = WidenedFp8Linear
    return Kinds(*(faster.get(kind, kind) for kind in kinds))

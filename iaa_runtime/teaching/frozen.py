"""Opens a checkpoint so that gradients flow through its frozen weights, those of 8 and 4 bits included.

A quantized matrix is dequantized some rows at a time, and once more in the backward pass (Dettmers et al., QLoRA, arXiv
2305.14314): no dequantized copy of it is kept for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.checkpoint import Checkpoint
from ..errors import ConfigError
from ..model.devices import pick_device
from ..model.dtypes import Dtype, pick_dtype
from ..model.linear.int4 import Int4Linear
from ..model.linear.int8 import Int8Linear
from ..model.linear.kinds import PLAIN, Kinds
from ..model.linear.quantized import DEQUANTIZED, DEQUANTIZED_ON_CPU, QuantizedLinear
from ..pipeline.local import IAAPipeline
from ..pipeline.model import IAAModel
from ..text.tokenizer import load_tokenizer


class _Product(torch.autograd.Function):
    """A product with a weight as stored; gradients reach the input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, kind: type[QuantizedLinear]) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.kind, ctx.dtype, ctx.columns = kind, x.dtype, x.shape[-1]
        product: Tensor = QuantizedLinear.product.__func__(kind, x, weight, scale)  # type: ignore[attr-defined]
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight, scale = ctx.saved_tensors
        step = max(1, (DEQUANTIZED_ON_CPU if gradient.is_cpu else DEQUANTIZED) // ctx.columns)
        total: Tensor | None = None
        parts = (torch.split(weight, step), torch.split(scale, step), torch.split(gradient, step, dim=-1))
        for rows, scales, part in zip(*parts, strict=True):
            product = part @ ctx.kind.dequantize(rows, scales, part.dtype)
            total = product if total is None else total.add_(product)
        assert total is not None
        return total.to(ctx.dtype), None, None, None


class _LearnedThrough(QuantizedLinear):
    """Weights through which gradients flow."""

    @classmethod
    def product(cls, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """See :meth:`QuantizedLinear.product`."""
        product: Tensor = _Product.apply(x, weight, scale, cls)  # type: ignore[no-untyped-call]
        return product


class LearnedThroughInt8(_LearnedThrough, Int8Linear):
    """8-bit weights through which gradients flow."""


class LearnedThroughInt4(_LearnedThrough, Int4Linear):
    """4-bit weights through which gradients flow."""


KINDS: dict[str | None, Kinds] = {
    None: PLAIN,
    "int8": Kinds.of(LearnedThroughInt8, head=LearnedThroughInt8),
    "int4": Kinds.of(LearnedThroughInt8, head=LearnedThroughInt8)._replace(matrix=LearnedThroughInt4),
}
"""By the name of the precision of the frozen matrices."""


def open_frozen(
    folder: Path,
    dtype: Dtype | None,
    device: torch.device | str,
    precision: str | None,
    tower: str | Path | None = None,
) -> IAAPipeline:
    """Opens a checkpoint to be taught.

    Args:
        folder: of the checkpoint.
        dtype: of weights and activations, as :func:`dtype_to_teach` has it.
        device: where it is taught.
        precision: of the frozen matrices, ``"int8"`` or ``"int4"``; None keeps the checkpoint's own.
        tower: folder of the CLIP tower, where it is not with the checkpoint.

    Raises:
        ConfigError: gradients do not flow through that precision.
    """
    place, checkpoint = pick_device(device), Checkpoint(folder, tower)
    stored = checkpoint.resolve_precision(precision)
    if stored not in KINDS:
        raise ConfigError(f"A model in {stored} cannot be taught. Teach it in 16 bits, int8 or int4.")
    model = IAAModel(
        checkpoint, dtype_to_teach(dtype, place), place, precision=precision, kinds=KINDS[stored], cuda_graphs=False
    )
    return IAAPipeline(model, load_tokenizer(checkpoint.folder))


def dtype_to_teach(wanted: Dtype | None, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations through which gradients flow.

    None and ``"auto"`` are bfloat16 where a device computes in it. On a CPU they are float32, products of which are of
    bfloat16 as far as the processor gains by it; and elsewhere too, since gradients of float16 vanish.

    Raises:
        ConfigError: it is none that a model computes in.
    """
    if wanted not in (None, "auto"):
        return pick_dtype(wanted, device)
    own = pick_dtype(None, device)
    return torch.float32 if device.type == "cpu" or own == torch.float16 else own

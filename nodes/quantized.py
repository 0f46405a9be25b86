"""The runtime's quantized layers as ComfyUI places, streams, counts and evicts them: like its own linear layers."""

from __future__ import annotations

from functools import cache

import comfy.ops
import torch

from ..iaa_runtime.model.linear.base import SpecialLinear
from ..iaa_runtime.model.linear.kinds import QUANTIZED, Kinds
from ..iaa_runtime.model.linear.quantized import QuantizedLinear


@cache
def hosted_kinds(precision: str) -> Kinds:
    """The kinds of linear layer for a precision below 16 bits."""
    kinds = QUANTIZED[precision]
    return Kinds(_hosted(kinds.matrix), _hosted(kinds.head))


@cache
def _hosted(kind: type[SpecialLinear] | None) -> type[SpecialLinear]:
    assert kind is not None and issubclass(kind, QuantizedLinear)

    class Hosted(kind, comfy.ops.CastWeightBiasOp):  # type: ignore[misc, valid-type]
        """The layer with its scales under the name that ComfyUI streams beside a weight."""

        SCALE = "bias"
        comfy_cast_weights = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(..., M) -> (..., O), wherever ComfyUI keeps the weight."""
            fetched = comfy.ops.CastBiasWeightContext(
                self, dtype=self.weight.dtype, bias_dtype=self.bias.dtype, device=x.device, offloadable=True
            )
            with fetched as (weight, scale):
                return self.product(x, weight, scale)

    Hosted.__name__ = Hosted.__qualname__ = f"Hosted{kind.__name__}"
    return Hosted

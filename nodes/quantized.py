"""Kinds of linear layer under ComfyUI, which places, streams, counts and evicts quantized ones like its own layers."""

from __future__ import annotations

from functools import cache

import comfy.ops
import torch

from ..iaa_runtime.model.linear.base import SpecialLinear
from ..iaa_runtime.model.linear.kinds import Kinds, kinds_for
from ..iaa_runtime.model.linear.quantized import QuantizedLinear


def hosted_kinds(precision: str | None, dtype: torch.dtype, device: torch.device) -> Kinds:
    """The kinds of linear layer for a precision: the runtime's own on a CPU, from which nothing is ever moved."""
    kinds = kinds_for(precision, dtype, device)
    return kinds if device.type == "cpu" or precision is None else Kinds(*map(_hosted, kinds))


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
                product: torch.Tensor = self.product(x, weight, scale)
            return product

    Hosted.__name__ = Hosted.__qualname__ = f"Hosted{kind.__name__}"
    return Hosted

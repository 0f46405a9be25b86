"""Products of 8- and 4-bit weights on a GPU, by comfy-kitchen, which comes with ComfyUI.

Elsewhere, and where it is not installed or has no kernel for the card, the layers' own arithmetic does the work.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

FEW_ROWS = 8
"""Rows up to which its product of 4-bit weights takes groups of any size; with more it takes groups of 64 alone."""


def kitchen_for(x: Tensor, function: str) -> ModuleType | None:
    """The package, where a kernel of its computes ``function`` with activations ``x`` on a GPU; else None."""
    return _kitchen(function, x.dtype, x.device) if x.is_cuda else None


@cache
def _kitchen(function: str, dtype: torch.dtype, device: torch.device) -> ModuleType | None:
    try:
        import comfy_kitchen
        from comfy_kitchen.exceptions import NoCapableBackendError
    except ImportError:
        return None
    try:
        activations = torch.empty((1, 16), dtype=dtype, device=device)
        backend = comfy_kitchen.registry.get_capable_backend(function, {"x": activations})
    except NoCapableBackendError:
        return None
    return None if backend == "eager" else comfy_kitchen  # torch's own operators in Python: ours are as fast


def int8_product(kitchen: ModuleType, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """``x`` (..., M), a token rounded to 8 bits with a scale of its own, times int8 ``weight`` (O, M) -> (..., O).

    Args:
        kitchen: the package.
        x: activations.
        weight: int8.
        scale: (O, 1) float32, of the weight's rows.
    """
    rows = x.reshape(-1, x.shape[-1])
    product: Tensor = kitchen.int8_linear(rows, weight, scale, out_dtype=x.dtype)
    return product.view(*x.shape[:-1], -1)


def int4_product(kitchen: ModuleType, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """``x`` (..., M) of few rows, times 4-bit ``weight`` -> (..., O).

    Args:
        kitchen: the package.
        x: activations, float16 or bfloat16.
        weight: (O, M / 2) uint8, the even column in the low four bits, 8 for 0.
        scale: (O, groups).
    """
    scales = scale.t().to(x.dtype).contiguous()
    group = x.shape[-1] // len(scales)
    product: Tensor = kitchen.gemv_awq_w4a16(
        x, weight.view(torch.int8), scales, torch.zeros_like(scales), group_size=group
    )
    return product

"""Products of 8-bit weights on a GPU, by comfy-kitchen, which comes with ComfyUI.

Elsewhere, and where it is not installed or has no kernel for the card, the layers' own arithmetic does the work. Its
product of 4-bit weights (``gemv_awq_w4a16``) is no help: on an H100 it takes 6 to 26 times a bfloat16 product's time.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

_log = logging.getLogger(__name__)


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
    except Exception as error:  # whatever its operators meet in a torch that they are not made for
        _log.warning(
            "comfy-kitchen does not start with torch %s (%s); 8-bit weights are computed without it.",
            torch.__version__,
            type(error).__name__,
        )
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

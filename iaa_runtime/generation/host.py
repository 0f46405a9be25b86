"""From the device to the host: the one place where decoding waits for a device, once a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_host(*tensors: Tensor) -> tuple[list[Any], ...]:
    """Tensors of one shape as lists, in one transfer: whole numbers of 32 bits, and floats as float32."""
    bits = [each.float().contiguous().view(torch.int32) if each.is_floating_point() else each.int() for each in tensors]
    host = torch.stack(bits).cpu()  # as bits, so that nothing is rounded
    return tuple(
        (row.view(torch.float32) if each.is_floating_point() else row).tolist()
        for each, row in zip(tensors, host, strict=True)
    )

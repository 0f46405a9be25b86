"""The dtypes that a model computes in, and the one that suits a device."""

from __future__ import annotations

import torch

from .linear.processor import fast_in_bf16

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it (on a CPU, where that is the faster one); else float16, or float32."""
    if device.type == "cpu":
        return torch.bfloat16 if fast_in_bf16() else torch.float32
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16  # before Ampere bfloat16 is emulated, and no fused attention takes it
    return torch.float16 if device.type == "mps" else torch.bfloat16

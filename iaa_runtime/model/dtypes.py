"""The dtypes that a model computes in, by name, and the one that suits a device."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from ..config import DtypeName
from ..errors import ConfigError, spelled
from .linear.processor import fast_in_bf16

DTYPES: dict[DtypeName, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Dtype: TypeAlias = torch.dtype | DtypeName | Literal["auto"]
"""How a dtype is said; ``"auto"`` leaves it to the device."""


def dtype_name(dtype: torch.dtype) -> str:
    """What torch calls a dtype: ``float32``."""
    return str(dtype).removeprefix("torch.")


def pick_dtype(wanted: Dtype | None, device: torch.device) -> torch.dtype:
    """A dtype by name, as in ``DTYPES`` or as torch calls it; what suits the device for None and ``"auto"``.

    Raises:
        ConfigError: it is none that a model computes in.
    """
    if wanted is None or wanted == "auto":
        return default_dtype(device)
    known = {name: dtype for short, dtype in DTYPES.items() for name in (dtype, short, dtype_name(dtype))}
    if wanted not in known:
        names = ", ".join(f"{name} ({dtype})" for name, dtype in DTYPES.items())
        raise ConfigError(f"dtype {spelled(wanted)} is not supported. Choose one of {names}, or auto.")
    return known[wanted]


def embedding_dtype(stored: torch.dtype | None, dtype: torch.dtype) -> torch.dtype:
    """What a token embedding is kept in, beside a model in ``dtype``: as stored, if that is narrower.

    Rows are widened when they are looked up, to the same numbers.
    """
    if stored is None or stored not in DTYPES.values():
        return dtype
    return min(dtype, stored, key=lambda each: each.itemsize)


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it (on a CPU, where that is the faster one); else float16, or float32."""
    if device.type == "cpu":
        return torch.bfloat16 if fast_in_bf16() else torch.float32
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16  # before Ampere bfloat16 is emulated, and no fused attention takes it
    return torch.float16 if device.type == "mps" else torch.bfloat16

"""What ``--dtype``, ``--precision`` and ``--device`` stand for."""

from __future__ import annotations

import torch

from ..errors import InputError
from ..model.linear import kinds

DTYPES = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Choices of ``--dtype``; None lets the device decide."""
PRECISIONS = {"full": None} | {name: name for name in kinds.PRECISIONS}
"""Choices of ``--precision``; None keeps the large matrices in the dtype."""

ACCELERATORS = ("cuda", "xpu", "mps", "hpu")
"""What ``--device auto`` looks for, in this order: NVIDIA's and AMD's, Intel's, Apple's, and Habana's where its package
has been imported. DirectML is a device of its package's, ``privateuseone``, and must be named."""


def pick_device(name: str) -> str:
    """The torch device of a ``--device`` value.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        return next((kind for kind in ACCELERATORS if _is_there(kind)), "cpu")
    try:
        torch.empty(1, device=name).cpu()  # which the meta device cannot do
    except (RuntimeError, AssertionError, ImportError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"The device {name!r} cannot be used ({why}). Try --device cpu.") from None
    return name


def _is_there(kind: str) -> bool:
    backend = getattr(torch.backends, kind, None) if kind == "mps" else getattr(torch, kind, None)
    return backend is not None and bool(backend.is_available())

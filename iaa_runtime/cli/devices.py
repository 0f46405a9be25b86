"""What ``--dtype``, ``--precision`` and ``--device`` stand for."""

from __future__ import annotations

import torch

from ..errors import InputError
from ..model.linear import kinds

DTYPES = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Choices of ``--dtype``; None lets the device decide."""
PRECISIONS = {"full": None} | {name: name for name in kinds.PRECISIONS}
"""Choices of ``--precision``; None keeps the large matrices in the dtype."""


def pick_device(name: str) -> str:
    """The torch device of a ``--device`` value.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"The device {name!r} cannot be used ({str(error).splitlines()[0]}). Try --device cpu."
        ) from None
    return name

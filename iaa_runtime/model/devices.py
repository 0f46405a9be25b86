"""The devices that a model computes on, by name."""

from __future__ import annotations

import torch

from ..errors import InputError

ACCELERATORS = ("cuda", "xpu", "mps", "hpu")
"""What ``"auto"`` looks for, in this order: NVIDIA's and AMD's, Intel's, Apple's, and Habana's where its package has
been imported. DirectML is a device of its package's, ``privateuseone``, and must be named."""


def pick_device(name: torch.device | str) -> torch.device:
    """The torch device of a name: ``"auto"`` is the first accelerator that is there, or the CPU.

    A device that torch has made is taken at its word.

    Raises:
        InputError: there is no such device.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device(next((kind for kind in ACCELERATORS if _is_there(kind)), "cpu"))
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # which the meta device cannot do
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"The device {name!r} cannot be used ({why}). Take another, such as cpu.") from None
    return device


def _is_there(kind: str) -> bool:
    backend = getattr(torch.backends, kind, None) if kind == "mps" else getattr(torch, kind, None)
    return backend is not None and bool(backend.is_available())

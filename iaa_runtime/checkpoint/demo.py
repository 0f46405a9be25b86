"""The demo model, known again wherever it lies."""

from __future__ import annotations

import torch

from ..errors import IAAError
from .checkpoint import DEMO_CHECKPOINT, Checkpoint

_TOLD_BY = "layers.0.input_layernorm.weight"
"""What training moves in every place, and ``iaa convert`` keeps as it is."""


def is_demo(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has the demo model's base: itself, a copy, one converted, or one with adaptors merged in."""
    if checkpoint.folder.resolve() == DEMO_CHECKPOINT.resolve():
        return True
    if _TOLD_BY not in checkpoint.names("base"):
        return False
    try:
        demo = Checkpoint(DEMO_CHECKPOINT)
        mine, known = (dict(one.load("base", [_TOLD_BY], torch.float32, "cpu"))[_TOLD_BY] for one in (checkpoint, demo))
    except IAAError:  # somebody removed the demo model, which is none of the other's business
        return False
    return torch.equal(mine, known)

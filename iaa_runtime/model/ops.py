"""The default layer classes: those of ``torch.nn``, without random weights."""

from __future__ import annotations

from torch import nn

from .linear.plain import Linear, Uninitialized

__all__ = ["Conv2d", "Embedding", "LayerNorm", "Linear", "RMSNorm"]


class Embedding(Uninitialized, nn.Embedding):
    """:class:`torch.nn.Embedding`."""


class RMSNorm(Uninitialized, nn.RMSNorm):
    """:class:`torch.nn.RMSNorm`."""


class LayerNorm(Uninitialized, nn.LayerNorm):
    """:class:`torch.nn.LayerNorm`."""


class Conv2d(Uninitialized, nn.Conv2d):
    """:class:`torch.nn.Conv2d`."""

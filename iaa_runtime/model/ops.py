"""The default layer classes: those of ``torch.nn``, which draw no random weights, since weights are always read.

Drawing them costs more than time: on the meta device it makes torch import its compiler.
"""

from __future__ import annotations

from torch import nn


class _Read:
    """Leaves parameters as they are made."""

    def reset_parameters(self) -> None:
        """Does nothing."""


class Linear(_Read, nn.Linear):
    """:class:`torch.nn.Linear`."""


class Embedding(_Read, nn.Embedding):
    """:class:`torch.nn.Embedding`."""


class RMSNorm(_Read, nn.RMSNorm):
    """:class:`torch.nn.RMSNorm`."""


class LayerNorm(_Read, nn.LayerNorm):
    """:class:`torch.nn.LayerNorm`."""


class Conv2d(_Read, nn.Conv2d):
    """:class:`torch.nn.Conv2d`."""

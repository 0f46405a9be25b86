"""The plain linear layer: ``torch.nn``'s, a matrix in the model's dtype."""

from __future__ import annotations

from torch import nn


class Uninitialized:
    """Leaves parameters as they are allocated: weights are always loaded.

    Drawing random ones costs more than time: on the meta device it makes torch import its compiler.
    """

    def reset_parameters(self) -> None:
        """Does nothing."""


class Linear(Uninitialized, nn.Linear):
    """:class:`torch.nn.Linear`."""

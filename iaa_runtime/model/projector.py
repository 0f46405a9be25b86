"""From the vision tower's width to the language model's (LLaVA 1.5, Liu et al., 2023)."""

from __future__ import annotations

import re

from torch import nn

from ..config import IAAConfig
from ..errors import ConfigError
from .layers import Factory


def make_projector(config: IAAConfig, make: Factory) -> nn.Module:
    """``linear``, or ``mlpNx_gelu``: N linear layers with GELU between. (..., mm_hidden_size) -> (..., hidden_size).

    Raises:
        ConfigError: any other ``mm_projector_type``.
    """
    if config.mm_projector_type == "linear":
        return make.linear(config.mm_hidden_size, config.hidden_size, bias=True)
    match = re.fullmatch(r"mlp([1-9])x_gelu", config.mm_projector_type)
    if not match:
        raise ConfigError(
            f"mm_projector_type {config.mm_projector_type!r} is not supported; 'linear' and 'mlp2x_gelu' are."
        )
    layers: list[nn.Module] = [make.linear(config.mm_hidden_size, config.hidden_size, bias=True)]
    for _ in range(int(match[1]) - 1):
        layers += [nn.GELU(), make.linear(config.hidden_size, config.hidden_size, bias=True)]
    return nn.Sequential(*layers)

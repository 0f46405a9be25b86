"""From logits to the next token: pure functions over a batch.

Symbols: B rows, V vocabulary. A dropped token's logit is minus infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import GenerationConfig

DROPPED = float("-inf")


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divides positive and multiplies negative logits of seen tokens (Keskar et al., CTRL, 2019, section 4.1).

    Args:
        logits: (B, V).
        seen: (B, V) bool, tokens of the prompt and the answer so far.
        penalty: above 1 discourages, 1 does nothing.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Drops all but the ``k`` likeliest tokens of each row (ties with the last one stay)."""
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, DROPPED)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the smallest set of likeliest tokens with probability at least ``p`` (Holtzman et al., 2020)."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, DROPPED)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Drops tokens less likely than ``p`` times the likeliest one (Nguyen et al., Min-p Sampling, 2024)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(-1, keepdim=True), DROPPED)


def warp(logits: Tensor, config: GenerationConfig) -> Tensor:
    """Temperature, then top-k, top-p and min-p, those that ``config`` switches on. (B, V) -> (B, V)."""
    # Shifted first, so that a tiny temperature cannot make two infinities.
    logits = (logits - logits.amax(-1, keepdim=True)) / config.temperature
    if config.top_k:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p > 0:
        logits = keep_min_p(logits, config.min_p)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draws a token per row by inverting the cumulative distribution at ``uniform`` (B,), in [0, 1). Returns (B,) ids.

    One number a row and step, so that a row draws the same tokens in whatever batch it stands.
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    # The second condition catches a product that rounds up to the total: the last token with any probability.
    hit = (cumulative > uniform.to(cumulative)[:, None] * total) | (cumulative >= total)
    return hit.int().argmax(-1)


def uniforms(seed: int, count: int) -> Tensor:
    """``count`` random numbers in [0, 1), float32 on the CPU, so that a seed means the same on every device."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))

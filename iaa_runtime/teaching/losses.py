"""What a wrong answer costs: words are right or wrong, coordinates are near or far, and what was known should stay.

Symbols: M tokens whose successors are predicted, V vocabulary, K tokens that a memory keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUMBERS = 1000
"""Coordinates are written in thousandths, three digits in one token."""


def soft_numbers(values: Tensor, sigma: float) -> Tensor:
    """(M, 1000) soft targets of coordinates (M,) in thousandths: Gaussians of ``sigma`` thousandths around them.

    With one right token in a thousand, a near miss would be as wrong as a far one, and there would be no slope to
    descend; so neighbours count as nearly right. The Gaussian narrows as training goes on.
    """
    every = torch.arange(NUMBERS, dtype=torch.float32, device=values.device)
    return torch.softmax(-((values[:, None] - every) ** 2) / (2 * sigma**2), -1)


def answer_loss(
    logits: Tensor,
    targets: Tensor,
    absent: Tensor,
    numbers: Tensor,
    sigma: float | None,
    token_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of answer tokens; coordinates against soft targets, or a flat one where the object is absent.

    Args:
        logits: (M, V).
        targets: (M,) token ids.
        absent: (M,) bool, True in answers about objects that are not there.
        numbers: (1000,) ids of the tokens ``000`` to ``999``.
        sigma: Width of the soft targets in thousandths; None learns numbers like words.
        token_weights: (M,) float, what the loss of each token that is no coordinate is multiplied with; 1 if None.

    Returns:
        The loss, and figures: ``right``, the share of words; ``missed``, how far coordinates are off, in fractions of
        the square; ``near``, the share of those within 0.03.
    """
    scores = logits.float().log_softmax(-1)
    hard = -scores.gather(-1, targets[:, None]).squeeze(-1)
    if token_weights is not None:
        hard = hard * token_weights
    is_value = targets[:, None] == numbers
    number = is_value.any(-1)
    right = (scores.argmax(-1) == targets).float()
    if sigma is None or not number.any():
        return hard.mean(), {"right": right.mean().item()}
    values = is_value[number].float().argmax(-1)
    soft = torch.where(absent[number][:, None], 1 / NUMBERS, soft_numbers(values, sigma))
    of_numbers = scores[number][:, numbers]
    coordinates = -(soft * of_numbers).sum(-1)
    missed = (of_numbers.argmax(-1) - values).abs().float()[~absent[number]] / NUMBERS
    report = {"right": right[~number].mean().item()}
    if len(missed):
        report |= {"missed": missed.mean().item(), "near": (missed < 0.03).float().mean().item()}
    words = hard[~number]
    return coordinates.mean() + (words.mean() if len(words) else 0), report


@dataclass(frozen=True)
class Memory:
    """What a model said of each token of an answer: its likeliest successors.

    Attributes:
        ids: (M, K) of the K likeliest tokens.
        shares: (M, K) their probabilities, float16; what is left belongs to all others.
    """

    ids: Tensor
    shares: Tensor

    @classmethod
    def of(cls, logits: Tensor, kept: int) -> Memory:
        """That of logits (M, V), of the ``kept`` likeliest tokens."""
        shares, ids = logits.float().softmax(-1).topk(min(kept, logits.shape[-1]), -1)
        return cls(ids.to("cpu", torch.int32), shares.to("cpu", torch.float16))


def memory_loss(logits: Tensor, ids: Tensor, shares: Tensor) -> Tensor:
    """Kullback-Leibler divergences (M,) of logits (M, V) from a memory.

    All tokens that the memory does not name count as one. (Hinton et al., "Distilling the Knowledge in a Neural
    Network", arXiv 1503.02531; with the model as it was as its own teacher, Li and Hoiem, "Learning without
    Forgetting", arXiv 1606.09282.)

    Args:
        logits: of the model as it is now.
        ids: (M, K) of :class:`Memory`.
        shares: (M, K) likewise.
    """
    scores = logits.float().log_softmax(-1)
    named = scores.gather(-1, ids.long())
    shares = shares.float()
    rest = (1 - shares.sum(-1)).clamp_min(0)
    others = torch.log1p(-named.exp().sum(-1).clamp(max=1 - 1e-6))
    divergence = (shares * (shares.clamp_min(1e-12).log() - named)).sum(-1)
    return divergence + rest * (rest.clamp_min(1e-12).log() - others)

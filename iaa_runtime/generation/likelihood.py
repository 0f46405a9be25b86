"""How likely given answers are: the prompt is prefilled once, and all of them are read behind it as a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import Cancel, check_cancelled
from ..model.stack import Stack
from .host import to_host
from .prefill import CHUNK_TOKENS, Prompt, check_context, pad_left, prefill
from .rows import check_numbers


def mean_logprobs(
    stack: Stack, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]], cancelled: Cancel = None
) -> list[list[float]]:
    """The mean log-probability of an answer's tokens, each given the prompt and the tokens before it.

    The mean, not the sum, so that an answer does not lose by being long; the end token is not counted, so an answer is
    rated as the beginning of one.

    Args:
        stack: the task's stack.
        prompts: P rows; lengths and images may differ.
        answers: C lists of token ids, none empty.
        cancelled: checked before every chunk.

    Returns:
        P lists of C numbers, natural logarithms, at most 0.

    Raises:
        ContextLengthError: a prompt with its longest answer fills the context.
        Cancelled: ``cancelled`` returned True.
        NumericsError: the model computes NaN.
    """
    longest = max(map(len, answers))
    check_context(prompts, stack.config.max_position_embeddings - longest + 1)
    cache, logits = prefill(stack, prompts, longest - 1, cancelled)
    first = torch.tensor([answer[0] for answer in answers], device=stack.device)
    sums = logits.log_softmax(-1)[:, first]
    if longest > 1:
        cache.select(torch.arange(len(prompts), device=stack.device).repeat_interleave(len(answers)))
        embedded, real = pad_left([stack.embed(torch.tensor([ids[:-1] or ids]))[0] for ids in answers])
        targets, counted = _targets(answers, stack.device)
        rows = len(answers)
        at_once = max(1, CHUNK_TOKENS // embedded.shape[1])
        more = []
        for number, part in enumerate(cache.parts(at_once)):
            check_cancelled(cancelled)
            some = torch.arange(number * at_once, number * at_once + part.rows, device=stack.device) % rows
            hidden = stack.hidden(embedded[some], part, real[some] if real is not None else None)
            more.append(_sums(stack, hidden, targets[some], counted[some]))
        sums = sums + torch.cat(more).view(len(prompts), rows)
    means = sums / torch.tensor([len(answer) for answer in answers], device=stack.device)
    (flat,) = to_host(means.flatten())
    check_numbers(flat, stack.dtype)
    return [flat[start : start + len(answers)] for start in range(0, len(flat), len(answers))]


def _targets(answers: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """What is predicted after each token but the last, padded on the left: ids (C, T), and whether there is one."""
    longest = max(map(len, answers)) - 1
    rows = [[0] * (longest - len(ids) + 1) + list(ids[1:]) for ids in answers]
    counts = torch.tensor([len(ids) - 1 for ids in answers], device=device)
    columns = torch.arange(longest, device=device)
    return torch.tensor(rows, device=device), columns >= longest - counts[:, None]


def _sums(stack: Stack, hidden: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Sums (R,) of the log-probabilities of ``targets`` (R, T), a column at a time: logits are large."""
    total = hidden.new_zeros(len(hidden), dtype=torch.float32)
    for column in range(hidden.shape[1]):
        scores = stack.logits(hidden[:, column]).log_softmax(-1).gather(-1, targets[:, column, None])[:, 0]
        total += scores.where(counted[:, column], 0.0)
    return total

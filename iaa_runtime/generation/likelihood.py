"""How likely given answers are: the prompt is prefilled once, and all of them are read behind it, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import Cancel, check_cancelled
from ..model.branched_kv_cache import BranchedCache
from ..model.stack import Stack
from .host import to_host
from .prefill import CHUNK_TOKENS, Prompt, check_context, prefill
from .rows import check_numbers

LOGITS_AT_ONCE = 64
"""Tokens whose logits, one a word of the vocabulary, are held at a time."""


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
    check_context(prompts, stack.config.max_position_embeddings, answers)
    cache, logits = prefill(stack, prompts, sum(map(len, answers)), cancelled)
    seen, device = cache.columns, stack.device
    first = torch.tensor([answer[0] for answer in answers], device=device)
    sums = logits.log_softmax(-1)[:, first]
    for numbers in _groups(answers, CHUNK_TOKENS // len(prompts)):
        check_cancelled(cancelled)
        read = [answers[number][:-1] for number in numbers]
        embedded = stack.embed(torch.tensor([[token for ids in read for token in ids]]))
        hidden = stack.hidden(embedded.expand(len(prompts), -1, -1), BranchedCache(cache, seen, list(map(len, read))))
        targets = torch.tensor([token for number in numbers for token in answers[number][1:]], device=device)
        owners = torch.tensor([number for number in numbers for _ in answers[number][1:]], device=device)
        sums.index_add_(1, owners, _chosen(stack, hidden, targets))
    means = sums / torch.tensor([len(answer) for answer in answers], device=device)
    (flat,) = to_host(means.flatten())
    check_numbers(flat, stack.dtype)
    return [flat[start : start + len(answers)] for start in range(0, len(flat), len(answers))]


def _groups(answers: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """The numbers of answers of several tokens, in groups with some ``tokens`` together."""
    group, count = list[int](), 0
    for number, ids in enumerate(answers):
        if len(ids) > 1:
            if group and count + len(ids) > tokens:
                yield group
                group, count = [], 0
            group.append(number)
            count += len(ids)
    if group:
        yield group


def _chosen(stack: Stack, hidden: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities (P, T) of ``targets`` (T,) after the tokens whose states ``hidden`` (P, T, H) are."""
    found = []
    for start in range(0, len(targets), LOGITS_AT_ONCE):
        some = slice(start, start + LOGITS_AT_ONCE)
        scores = stack.logits(hidden[:, some]).log_softmax(-1)
        found.append(scores.gather(-1, targets[some].expand(len(hidden), -1)[..., None])[..., 0])
    return torch.cat(found, 1)

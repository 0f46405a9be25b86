"""Speculative decoding under a grammar: what is all but certain is drafted, and verified together with what follows.

A box such as ``[0.123,0.456,…]`` is mostly form: only its digits are news. The grammar drafts the form that comes next
at no cost; one forward pass checks it and gives the next digits. A draft is accepted as far as it is what greedy
decoding would have chosen (Leviathan et al., Fast Inference from Transformers via Speculative Decoding, 2023, with
greedy verification), so answers are those of decoding token by token.

Symbols: B rows, K drafted tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import Cancel, check_cancelled
from ..model.kv_cache import KVCache
from ..model.stack import Stack
from .grammar import BoxGrammar
from .host import to_host
from .prefill import Prompt, prefill
from .rows import Rows, check_numbers

LONGEST_DRAFT = 4
"""Tokens that are drafted at most; a cache has as many columns to spare."""


def generate_drafted(
    stack: Stack, prompts: Sequence[Prompt], grammar: BoxGrammar, rows: Rows, cancelled: Cancel = None
) -> None:
    """Answers a batch of prompts greedily under a grammar; ``rows`` take the answers.

    Raises:
        Cancelled: ``cancelled`` returned True.
        NumericsError: the model computes NaN.
    """
    cache, logits = prefill(stack, prompts, max(rows.limits) + LONGEST_DRAFT, cancelled)
    grammar = grammar.on(stack.device)
    states = grammar.start(rows.limits)
    drafts: list[list[int]] = [[] for _ in prompts]
    logits = logits[:, None]
    while True:
        check_cancelled(cancelled)
        path = _along(grammar, states, drafts)
        ids, logprobs, following = _verify(grammar, path, logits, torch.tensor(rows.left(), device=stack.device))
        for line in logprobs:
            check_numbers(line, stack.dtype)
        accepted = [_matching(draft, chosen) for draft, chosen in zip(drafts, ids, strict=True)]
        if logits.shape[1] > 1:
            cache.keep_new([count + 1 for count in accepted])
        alive = [
            position
            for position, count in enumerate(accepted)
            if rows.take(position, ids[position][: count + 1], logprobs[position][: count + 1])
        ]
        if not alive:
            return
        newest = [ids[position][accepted[position]] for position in alive]
        reached = [following[position][accepted[position]] for position in alive]
        if len(alive) < len(accepted):
            rows.keep(alive)
            cache.select(torch.tensor(alive, device=stack.device))
        states = torch.tensor(reached, device=stack.device)
        drafts = _drafts(grammar, reached, rows, cache)
        logits = _feed(stack, cache, newest, drafts)


def _drafts(grammar: BoxGrammar, states: Sequence[int], rows: Rows, cache: KVCache) -> list[list[int]]:
    """A draft a row; none where rejected ones have used up the columns that the cache has to spare."""
    left = rows.left()
    if cache.capacity - cache.columns - 1 - LONGEST_DRAFT < max(left):
        return [[] for _ in states]
    drafts = [grammar.draft(state) for state in states]
    return [draft[: min(LONGEST_DRAFT, room - 1)] for draft, room in zip(drafts, left, strict=True)]


def _feed(stack: Stack, cache: KVCache, newest: Sequence[int], drafts: Sequence[Sequence[int]]) -> Tensor:
    """Runs each row's newest token and its draft. Returns logits (B, 1 + K, V)."""
    longest = max(map(len, drafts))
    tokens = torch.tensor([[t, *d, *[0] * (longest - len(d))] for t, d in zip(newest, drafts, strict=True)])
    real = None
    if any(len(draft) < longest for draft in drafts):
        lengths = torch.tensor([1 + len(draft) for draft in drafts], device=stack.device)
        real = torch.arange(1 + longest, device=stack.device) < lengths[:, None]
    return stack.logits(stack.hidden(stack.embed(tokens), cache, real))


def _along(grammar: BoxGrammar, states: Tensor, drafts: Sequence[Sequence[int]]) -> Tensor:
    """The grammar's states along each draft, (B, 1 + K); behind a shorter draft its last one is repeated."""
    path = [states]
    for number in range(max(map(len, drafts))):
        drafted = torch.tensor([d[number] if number < len(d) else -1 for d in drafts], device=states.device)
        path.append(torch.where(drafted < 0, path[-1], grammar.advance(path[-1], drafted.clamp_min(0))))
    return torch.stack(path, dim=1)


def _verify(
    grammar: BoxGrammar, path: Tensor, logits: Tensor, left: Tensor
) -> tuple[list[list[int]], list[list[float]], list[list[int]]]:
    """What greedy decoding chooses behind each token of the drafts.

    Args:
        grammar: restricts the choice.
        path: the grammar's states, (B, 1 + K).
        logits: (B, 1 + K, V).
        left: tokens that each row may still have, (B,).

    Returns:
        Tokens, their log-probabilities under the model's own distribution, and the states behind them: (B, 1 + K) each,
        on the host.
    """
    remaining = left[:, None] - torch.arange(path.shape[1], device=path.device)
    allowed = grammar.allowed(path.flatten(), remaining.flatten()).view(logits.shape)
    tokens = logits.masked_fill(~allowed, float("-inf")).argmax(-1)
    logprobs = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
    following = grammar.advance(path.flatten(), tokens.flatten()).view(path.shape)
    ids, scores, states = to_host(tokens, logprobs, following)
    return ids, scores, states


def _matching(draft: Sequence[int], chosen: Sequence[int]) -> int:
    """How many tokens at the start of a draft are those that greedy decoding chooses."""
    return next((n for n, (ours, theirs) in enumerate(zip(draft, chosen, strict=False)) if ours != theirs), len(draft))

"""The token loop over a stack: greedy and sampled decoding of a batch, with finished rows retired.

Progress, stopping, cancelling and grammar are passed in; nothing here knows text, images or hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import IMAGE_TOKEN_INDEX, GenerationConfig
from ..errors import Cancel, check_cancelled
from ..model.stack import Stack
from . import sampling
from .constraint import Grammar, Held
from .decode import EagerSteps, MakeSteps
from .drafting import generate_drafted
from .grammar import BoxGrammar
from .host import to_host
from .prefill import Prompt, check_context, prefill
from .rows import Answer, OnToken, Rows, check_numbers


def token_budgets(prompts: Sequence[Prompt], stack: Stack, wanted: int) -> list[int]:
    """How many new tokens each prompt may get: ``wanted``, or what the context leaves. Neighbours do not matter.

    Raises:
        ContextLengthError: a prompt fills the context.
    """
    context = stack.config.max_position_embeddings
    check_context(prompts, context)
    return [min(wanted, context - prompt.length) for prompt in prompts]


def generate(
    stack: Stack,
    prompts: Sequence[Prompt],
    config: GenerationConfig,
    eos: Sequence[int],
    *,
    constraint: Grammar | None = None,
    steps: MakeSteps = EagerSteps,
    on_token: OnToken = None,
    cancelled: Cancel = None,
) -> list[Answer]:
    """Answers a batch of prompts.

    Args:
        stack: the task's stack.
        prompts: the rows; lengths and images may differ. A row's answer does not depend on its neighbours.
        config: greedy or sampling settings (``num_beams`` is not looked at; see :mod:`.beam`).
        eos: ids that end an answer.
        constraint: restricts every answer to a grammar.
        steps: how tokens are decoded one by one.
        on_token: progress and stopping.
        cancelled: checked before every token and every chunk of the prompts.

    Returns:
        An answer for each prompt.

    Raises:
        ContextLengthError: a prompt fills the context.
        Cancelled: ``cancelled`` returned True.
        NumericsError: the model computes NaN.
    """
    rows = Rows(token_budgets(prompts, stack, config.max_new_tokens), eos, on_token)
    greedy = not config.do_sample and config.repetition_penalty == 1
    if isinstance(constraint, BoxGrammar) and greedy:
        generate_drafted(stack, prompts, constraint, rows, cancelled)
        return rows.answers
    cache, logits = prefill(stack, prompts, max(rows.limits), cancelled)
    run_on = steps(stack, cache)
    held = constraint.hold(rows.limits, stack.device) if constraint is not None else None
    sampler = _Sampler(stack, prompts, config, held, rows.limits)
    for step in range(max(rows.limits)):
        check_cancelled(cancelled)
        tokens, logprobs = sampler.sample(logits, step)
        ids, scores = to_host(tokens, logprobs)
        check_numbers(scores, stack.dtype)
        kept = [n for n in range(len(ids)) if rows.take(n, ids[n : n + 1], scores[n : n + 1])]
        if not kept:
            break
        if len(kept) < len(ids):
            rows.keep(kept)
            index = torch.tensor(kept, device=stack.device)
            run_on.select(index)
            sampler.select(index, kept)
            tokens = tokens.index_select(0, index)
        logits = run_on(tokens)
        sampler.advance(tokens, [ids[n] for n in kept])
    return rows.answers


class _Sampler:
    """Chooses the next token of each row; keeps what that needs from step to step, for the rows still alive."""

    def __init__(
        self,
        stack: Stack,
        prompts: Sequence[Prompt],
        config: GenerationConfig,
        held: Held | None,
        limits: Sequence[int],
    ) -> None:
        self.config, self.held = config, held
        self.limits = torch.tensor(limits, device=stack.device)
        self.seen: Tensor | None = None
        if config.repetition_penalty != 1:
            self.seen = seen_tokens([p.ids for p in prompts], stack.config.vocab_size, stack.device)
        self.uniforms = sampling.uniforms(config.seed, max(limits)).to(stack.device) if config.do_sample else None

    def sample(self, logits: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Returns tokens (B,) and their log-probabilities (B,) from logits (B, V)."""
        raw = logits
        if self.seen is not None:
            logits = sampling.penalize_repetition(logits, self.seen, self.config.repetition_penalty)
        if self.held is not None:
            logits = logits.masked_fill(~self.held.allowed(self.limits - step), sampling.DROPPED)
        if self.uniforms is not None:
            logits = sampling.warp(logits, self.config)
            tokens = sampling.draw(logits, self.uniforms[step].expand(len(logits)))
        else:
            tokens = logits.argmax(-1)
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        chosen = raw.gather(-1, tokens[:, None])[:, 0] - raw.logsumexp(-1)
        return tokens, chosen

    def advance(self, tokens: Tensor, ids: Sequence[int]) -> None:
        """Tells the grammar which tokens its rows go on with, on the device (B,) and on the host."""
        if self.held is not None:
            self.held.advance(tokens, ids)

    def select(self, rows: Tensor, kept: Sequence[int]) -> None:
        """Keeps the rows at these positions, given on the device and on the host."""
        self.limits = self.limits.index_select(0, rows)
        if self.seen is not None:
            self.seen = self.seen.index_select(0, rows)
        if self.held is not None:
            self.held.select(rows, kept)


def seen_tokens(rows: Sequence[Sequence[int]], vocab_size: int, device: torch.device) -> Tensor:
    """(B, V) bool: which tokens stand in each row; the image's mark is none."""
    seen = torch.zeros((len(rows), vocab_size), dtype=torch.bool)
    for number, ids in enumerate(rows):
        seen[number, [i for i in ids if i != IMAGE_TOKEN_INDEX]] = True
    return seen.to(device)

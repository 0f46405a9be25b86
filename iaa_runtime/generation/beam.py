"""Beam search over a stack, with the scores and the stopping rule of the transformers library.

Symbols: B prompts, K beams a prompt, V vocabulary. Beams of a prompt stand side by side: row ``b * K + k``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import GenerationConfig
from ..errors import Cancel, check_cancelled
from ..model.stack import Stack
from . import sampling
from .host import to_host
from .loop import seen_tokens, token_budgets
from .prefill import Prompt, prefill
from .rows import Answer, OnToken, check_numbers


@dataclass(frozen=True)
class _Beam:
    """An answer that is being written: its tokens and their log-probabilities, what it scores, its row before that."""

    total: float
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    origin: int = 0


@dataclass
class _Finished:
    """The K best finished answers of one prompt."""

    config: GenerationConfig
    limit: int
    answers: list[tuple[float, _Beam]] = field(default_factory=list)
    done: bool = False

    def add(self, beam: _Beam) -> None:
        self.answers.append((beam.total / len(beam.ids) ** self.config.length_penalty, beam))
        self.answers.sort(key=lambda answer: -answer[0])
        del self.answers[self.config.num_beams :]

    def close(self, running: Sequence[_Beam]) -> None:
        """Marks the prompt as done when no running beam can still enter the list, or no token is left to run on."""
        length = len(running[0].ids)
        if self.done:
            return
        if length == self.limit:
            for beam in running:
                self.add(beam)
            self.done = True
        elif len(self.answers) == self.config.num_beams:
            reachable = running[0].total / length**self.config.length_penalty
            self.done = self.config.early_stopping or self.answers[-1][0] >= reachable

    def best(self, eos: Sequence[int]) -> Answer:
        beam = self.answers[0][1]
        return Answer(list(beam.ids), list(beam.logprobs), finished=beam.ids[-1] in eos)


def beam_search(
    stack: Stack,
    prompts: Sequence[Prompt],
    config: GenerationConfig,
    eos: Sequence[int],
    *,
    on_token: OnToken = None,
    cancelled: Cancel = None,
) -> list[Answer]:
    """Answers each prompt with the best of ``config.num_beams`` beams.

    A finished answer scores ``sum of log-probabilities / length ** length_penalty`` (the end token counted). The
    search ends when K answers are finished and no running beam scores higher at its present length.

    Args:
        stack: the task's stack.
        prompts: the rows. A row's answer does not depend on its neighbours.
        config: beams, penalties and length.
        eos: ids that end an answer.
        on_token: called with (row, likeliest beam's token) at each step; its answer is not looked at, since a beam may
            still lose.
        cancelled: checked at every step.

    Returns:
        The best answer for each prompt.

    Raises:
        ContextLengthError: a prompt fills the context.
        Cancelled: ``cancelled`` returned True.
        NumericsError: the model computes NaN.
    """
    beams, limits = config.num_beams, token_budgets(prompts, stack, config.max_new_tokens)
    cache, logits = prefill(stack, prompts, max(limits), cancelled)
    spread = torch.arange(len(prompts), device=stack.device).repeat_interleave(beams)
    cache.select(spread)
    logits = logits.index_select(0, spread)
    # All beams are equal at first: one of them branches.
    running = [_Beam(0.0 if number % beams == 0 else -1e9) for number in range(len(prompts) * beams)]
    finished = [_Finished(config, limit) for limit in limits]
    while True:
        check_cancelled(cancelled)
        following: list[_Beam] = []
        for row, candidates in enumerate(_candidates(logits, running, prompts, config, len(eos))):
            # NaN is the largest of all numbers to a search, so that one is among the best.
            check_numbers([beam.logprobs[-1] for beam in candidates], stack.dtype)
            chosen = _continue(finished[row], candidates, eos)
            if on_token is not None and not finished[row].done:
                on_token(row, chosen[0].ids[-1])
            finished[row].close(chosen)
            following += chosen
        running = following
        if all(f.done for f in finished):
            return [f.best(eos) for f in finished]
        cache.select(torch.tensor([beam.origin for beam in running], device=stack.device))
        newest = torch.tensor([beam.ids[-1:] for beam in running])
        logits = stack.logits(stack.hidden(stack.embed(newest), cache)[:, -1])


def _candidates(
    logits: Tensor, running: Sequence[_Beam], prompts: Sequence[Prompt], config: GenerationConfig, ends: int
) -> Iterator[list[_Beam]]:
    """For each prompt the likeliest continuations of its beams: enough that K remain when all ended ones are out."""
    beams, vocabulary = config.num_beams, logits.shape[-1]
    own = logits.log_softmax(-1)
    scores = own
    if config.repetition_penalty != 1:
        texts = [[*prompts[number // beams].ids, *beam.ids] for number, beam in enumerate(running)]
        scores = sampling.penalize_repetition(
            own, seen_tokens(texts, vocabulary, own.device), config.repetition_penalty
        )
    totals = torch.tensor([[beam.total] for beam in running], device=own.device)
    own, scores = (values.view(len(prompts), beams * vocabulary) for values in (own, scores + totals))
    best = scores.topk(min(max(2, 1 + ends) * beams, beams * vocabulary), dim=-1)
    picked = to_host(best.values, best.indices, own.gather(-1, best.indices))
    for row, (values, indices, logprobs) in enumerate(zip(*picked, strict=True)):
        candidates = []
        for total, index, logprob in zip(values, indices, logprobs, strict=True):
            origin = row * beams + index // vocabulary
            parent = running[origin]
            candidates.append(_Beam(total, (*parent.ids, index % vocabulary), (*parent.logprobs, logprob), origin))
        yield candidates


def _continue(finished: _Finished, candidates: Sequence[_Beam], eos: Sequence[int]) -> list[_Beam]:
    """Files ended candidates, which come best first, and returns the K best others."""
    beams = finished.config.num_beams
    running: list[_Beam] = []
    for rank, beam in enumerate(candidates):
        if beam.ids[-1] in eos:
            # An ended candidate counts only among the K likeliest: further down, a better one is still running.
            if rank < beams and not finished.done:
                finished.add(beam)
        elif len(running) < beams:
            running.append(beam)
    return running

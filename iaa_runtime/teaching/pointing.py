"""Which heads look at what they box, and what it costs that they do not look at a new thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..config import IAAConfig
from ..model.stack import Stack
from .batches import Project, Ran, run_rows
from .lessons import Lessons, Row
from .looking import BEFORE, LEAST_SHARE, MOST_HEADS, Call, Head, Looks, Recorder, box_starts, inside, shares

ASKED = 96
"""Answers that show which heads look."""


def adaptor_slots(config: IAAConfig) -> list[int]:
    """The numbers that a task's adaptor blocks have in its stack."""
    return [behind + number + 1 for number, behind in enumerate(config.iaa_insert_layers)]


@torch.no_grad()
def looking_heads(stack: Stack, lessons: Lessons, project: Project, at_once: int = 16) -> tuple[Head, ...]:
    """The heads of adaptor blocks that look at what the model knows while it says where that begins.

    Args:
        stack: the model as it is.
        lessons: with what it said of known things; the half of these that it was surest of is looked at.
        project: of the model.
        at_once: answers that run together.
    """
    if lessons.numbers is None or inside(torch.zeros(1, 4), lessons.features.shape[1]) is None:
        return ()
    known = [row for rows in lessons.known.values() for row in rows if box_starts(row.answer, lessons.values)]
    sure = sorted(known, key=lambda row: -_sureness(row, lessons))[: min(ASKED, len(known) // 2)]
    slots = adaptor_slots(stack.config)
    found: dict[Head, list[Tensor]] = {}
    for start in range(0, len(sure), at_once):
        recorder = Recorder(stack, slots)
        with recorder.entered():
            ran = run_rows(stack, lessons, sure[start : start + at_once], project)
        for calls, looks in _watched(ran, lessons, recorder, before=0, known=True):
            for slot, call in calls.items():
                for head in range(stack.config.num_attention_heads):
                    share = shares(call, head, looks, ran.first_patch, ran.patches).exp()
                    found.setdefault((slot, head), []).append(share)
    means = {head: float(torch.cat(parts).mean()) for head, parts in found.items()}
    best = sorted((head for head, mean in means.items() if mean >= LEAST_SHARE), key=lambda head: -means[head])
    return tuple(sorted(best[:MOST_HEADS]))


def unlooked(ran: Ran, lessons: Lessons, recorder: Recorder, heads: Sequence[Head]) -> Tensor | None:
    """Mean over heads and tokens of minus the logarithm of the attention that is on the taught things; where there is
    none, of that which is on nothing."""
    losses = [
        -shares(calls[slot], head, looks, ran.first_patch, ran.patches).clamp_min(-20.0)
        for calls, looks in _watched(ran, lessons, recorder, before=BEFORE, known=False)
        for slot, head in heads
    ]
    return torch.cat(losses).mean() if losses else None


def _watched(
    ran: Ran, lessons: Lessons, recorder: Recorder, before: int, known: bool
) -> Iterator[tuple[dict[int, Call], Looks]]:
    """The calls of each group of leaves, with the tokens at which a box of its rows is about to be named."""
    for calls, group in zip(recorder.leaves(len(ran.groups)), ran.groups, strict=True):
        places = [
            (number, ran.first(row) + at - back, box, row.absent)
            for number, row in enumerate(group)
            if (row.memory is not None) is known
            for at, box in box_starts(row.answer, lessons.values)
            for back in range(before + 1)
            if at >= back
        ]
        if places:
            rows, tokens, boxes, absent = zip(*places, strict=True)
            device = ran.logits.device
            yield calls, Looks(*(torch.tensor(part, device=device) for part in (rows, tokens, boxes, absent)))


def _sureness(row: Row, lessons: Lessons) -> float:
    """The probability that the model gave to the first coordinate of its answer."""
    assert row.memory is not None
    at = box_starts(row.answer, lessons.values)[0][0]
    named = row.memory.ids[at] == row.answer[at]
    return float(row.memory.shares[at][named].sum())

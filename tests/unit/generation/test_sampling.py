"""Sampling against probabilities worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iaa_runtime.config import GenerationConfig
from iaa_runtime.config.generation import SMALLEST
from iaa_runtime.generation.sampling import (
    DROPPED,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    uniforms,
    warp,
)

PROBABILITIES = torch.tensor([[0.05, 0.4, 0.1, 0.25, 0.2]])
LOGITS = PROBABILITIES.log()


def kept(logits: Tensor) -> list[int]:
    return (logits[0] != DROPPED).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [1]), (2, [1, 3]), (4, [1, 2, 3, 4]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_top_k(k: int, expected: list[int]) -> None:
    assert kept(keep_top_k(LOGITS, k)) == expected


def test_top_k_keeps_ties() -> None:
    assert kept(keep_top_k(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), 2)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.01, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.64, [1, 3]),
        (0.8, [1, 3, 4]),
        (0.9, [1, 2, 3, 4]),
        (0.99, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float, expected: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, p)) == expected


@pytest.mark.parametrize(("p", "expected"), [(0.1, [0, 1, 2, 3, 4]), (0.2, [1, 2, 3, 4]), (0.6, [1, 3]), (1.0, [1])])
def test_min_p_is_relative_to_the_likeliest(p: float, expected: list[int]) -> None:
    assert kept(keep_min_p(LOGITS, p)) == expected


def test_repetition_penalty_pushes_both_signs_down() -> None:
    logits = torch.tensor([[2.0, -2.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalize_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0]]


def test_warp_divides_by_the_temperature_first() -> None:
    # At temperature 0.5 probabilities are squared and normalised: .16 of the .16+.0625+.04+.01+.0025 is 58 %.
    warped = warp(LOGITS, GenerationConfig(temperature=0.5))
    assert warped.softmax(-1)[0, 1].item() == pytest.approx(0.16 / 0.275, abs=1e-6)
    assert kept(warp(LOGITS, GenerationConfig(temperature=0.5, top_p=0.57))) == [1]
    assert kept(warp(LOGITS, GenerationConfig(temperature=1.0, top_p=0.57))) == [1, 3]


def test_warp_chains_the_filters() -> None:
    # Top-k leaves .4 .25 .2 = 47 %, 29 %, 24 %; of those top-p 0.75 leaves two, and min-p 0.7 the first alone.
    assert kept(warp(LOGITS, GenerationConfig(top_k=3, top_p=0.75))) == [1, 3]
    assert kept(warp(LOGITS, GenerationConfig(top_k=3, top_p=0.75, min_p=0.7))) == [1]


@pytest.mark.parametrize("options", [{"temperature": SMALLEST}, {"top_p": SMALLEST}], ids=str)
def test_the_smallest_values_are_greedy_not_broken(options: dict[str, float]) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        warped = warp(LOGITS.to(dtype), GenerationConfig(**options))  # type: ignore[arg-type]
        assert draw(warped, torch.tensor([0.999])).tolist() == [1]


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 0), (0.049, 0), (0.051, 1), (0.449, 1), (0.451, 2), (0.551, 3), (0.801, 4), (1 - 2**-24, 4)],
)
def test_draw_inverts_the_cumulative_distribution(uniform: float, token: int) -> None:
    assert draw(LOGITS, torch.tensor([uniform])).tolist() == [token]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_dropped_token_is_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[DROPPED, 0.0, DROPPED, 0.0, DROPPED]])
    assert draw(logits, torch.tensor([uniform])).item() in (1, 3)


def test_draws_have_the_distributions_frequencies() -> None:
    count = 20000
    tokens = draw(LOGITS.expand(count, -1), uniforms(0, count))
    frequencies = torch.bincount(tokens, minlength=5) / count
    # Five standard deviations of a frequency at most: sqrt(.25 / 20000) * 5.
    assert torch.allclose(frequencies, PROBABILITIES[0], atol=5 * math.sqrt(0.25 / count), rtol=0)


def test_rows_are_drawn_by_their_own_number() -> None:
    assert draw(LOGITS.expand(2, -1), torch.tensor([0.02, 0.9])).tolist() == [0, 4]


@pytest.mark.parametrize("count", [3, 17, 40, 1000])
def test_a_shorter_series_of_uniforms_begins_the_longer_one(count: int) -> None:
    # A row's draws must not depend on how many tokens its neighbours may take.
    assert torch.equal(uniforms(5, count), uniforms(5, 2000)[:count])
    assert not torch.equal(uniforms(6, count), uniforms(5, count))

"""What answers cost."""

from __future__ import annotations

import pytest
import torch

from iaa_runtime.teaching.losses import Memory, answer_loss, memory_loss


def test_a_near_coordinate_costs_less_than_a_far_one_and_scattered_ids_are_found() -> None:
    numbers = torch.randperm(1200)[:1000]
    target = numbers[500][None]

    def cost(said: int, absent: bool = False) -> float:
        logits = torch.full((1, 1200), -8.0)
        logits[0, numbers[said]] = 8.0
        loss, _ = answer_loss(logits, target, torch.tensor([absent]), numbers, 5.0)
        return float(loss)

    assert cost(500) < cost(504) < cost(512) < cost(900) + 1e-6
    assert cost(100, absent=True) == pytest.approx(cost(900, absent=True), rel=1e-5)
    flat, _ = answer_loss(torch.zeros(1, 1200), target, torch.tensor([True]), numbers, 5.0)
    assert float(flat) < cost(500, absent=True)


def test_a_memory_costs_nothing_to_whoever_says_the_same() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 300) * 3
    memory = Memory.of(logits, 64)
    same = memory_loss(logits, memory.ids, memory.shares)
    other = memory_loss(torch.randn(4, 300) * 3, memory.ids, memory.shares)
    assert float(same.abs().max()) < 5e-3 < 0.5 < float(other.min())


@pytest.mark.parametrize("sigma", [None, 5.0])
def test_words_cost_their_cross_entropy(sigma: float | None) -> None:
    """Of an answer without numbers, and of all answers where numbers are learned like words."""
    torch.manual_seed(0)
    logits, numbers = torch.randn(6, 1200) * 3, torch.arange(1000)
    targets = torch.tensor([1100, 1001, 1199, 1050, 1000, 1100]) if sigma else torch.tensor([5, 1001, 999, 0, 1100, 7])
    logits[0, targets[0]] = 99.0
    loss, report = answer_loss(logits, targets, torch.zeros(6, dtype=torch.bool), numbers, sigma)
    assert float(loss) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert report == {"right": pytest.approx(1 / 6)}
    half, _ = answer_loss(logits, targets, torch.zeros(6, dtype=torch.bool), numbers, sigma, torch.full((6,), 0.5))
    assert float(half) == pytest.approx(float(loss) / 2, rel=1e-5)


def test_a_memory_of_everything_is_the_divergence() -> None:
    torch.manual_seed(0)
    then, now = torch.randn(4, 50), torch.randn(4, 50)
    memory = Memory.of(then, 50)
    expected = torch.nn.functional.kl_div(now.log_softmax(-1), then.softmax(-1), reduction="batchmean")
    assert float(memory_loss(now, memory.ids, memory.shares).mean()) == pytest.approx(float(expected), rel=2e-3)

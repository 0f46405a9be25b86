"""Confidence intervals against closed forms and published values."""

from __future__ import annotations

import numpy as np
import pytest

from iaa_runtime.evaluation.statistics import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("hits", "count", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_as_published(hits: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(hits, count) == pytest.approx(expected, abs=5e-5)


def test_wilson_is_symmetric_and_bounded() -> None:
    low, high = wilson_interval(7, 7)
    assert high == 1.0
    assert low == pytest.approx(1 - wilson_interval(0, 7)[1])
    assert wilson_interval(0, 7)[0] == 0.0


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for trial in range(60):
        values = random.normal(3.0, 1.0, 50)
        low, high = bootstrap_interval(values, [1] * 50, seed=trial)
        covered += low <= 3.0 <= high
    assert covered >= 50  # 57 expected; the chance of fewer than 50 is below one in a thousand


def test_the_bootstrap_draws_groups() -> None:
    # Ten equal cases in each of four groups say no more than four cases.
    grouped = bootstrap_interval([10.0, 0.0, 10.0, 0.0], [10] * 4)
    alone = bootstrap_interval([1.0, 0.0, 1.0, 0.0], [1] * 4)
    assert grouped == pytest.approx(alone)
    assert bootstrap_interval([1.0] * 4, [1] * 4) == (1.0, 1.0)


@pytest.mark.parametrize("count", [1, 4, 10, 200])
def test_groups_that_all_agree_are_no_certainty(count: int) -> None:
    """Four pictures that are all right say no more than Wilson's interval of four in four."""
    for value in (0, 1):
        found = bootstrap_interval([float(3 * value)] * count, [3] * count, bounds=(0.0, 1.0))
        assert found == pytest.approx(wilson_interval(value * count, count))
    low, high = bootstrap_interval([0.2] * count, [1] * count, bounds=(0.0, 1.0))
    assert 0 < low < 0.2 < high < 1
    rounded = [0.1 + 0.2, 0.3] * count
    low, high = bootstrap_interval(rounded, [1] * len(rounded), bounds=(0.0, 1.0))
    assert low < 0.3 - 0.1 / count < 0.3 + 0.1 / count < high
    low, high = bootstrap_interval([0.0] * count, [1] * count, bounds=(-200.0, 200.0))
    assert -low == high == pytest.approx(200 * wilson_interval(0, count)[1])


def test_the_interval_of_groups_that_agree_covers_as_often_as_it_says() -> None:
    """Of pictures nineteen in twenty of which are right, ten are all right in three runs of five."""
    random, covered = np.random.default_rng(5), 0
    for trial in range(200):
        values = (random.random(10) < 0.95).astype(float)
        low, high = bootstrap_interval(values, [1] * 10, seed=trial, bounds=(0.0, 1.0))
        covered += low <= 0.95 <= high
    assert covered >= 180


def test_the_bootstrap_repeats_itself() -> None:
    values = [0.0, 0.3, 0.9, 0.4]
    assert bootstrap_interval(values, [1] * 4) == bootstrap_interval(values, [1] * 4)

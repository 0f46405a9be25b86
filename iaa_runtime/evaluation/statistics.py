"""Confidence intervals of scores: Wilson's for a proportion, the bootstrap for a mean over groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""The normal distribution's quantile for 95 percent, two-sided."""
_RESAMPLES = 2000
_ALIKE = 1e-9
"""Means that differ by less do so by rounding."""


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 percent score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 1927).

    Unlike the normal approximation it stays in [0, 1] and is meaningful where all or none hit. It takes the cases as
    independent.

    Args:
        hits: cases that hit.
        count: all cases, at least 1.

    Returns:
        (low, high).
    """
    share = hits / count
    spread = _Z**2 / count
    center = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # At the ends rounding would miss the bound by a little.
    return (center - half if hits else 0.0), (center + half if hits < count else 1.0)


def bootstrap_interval(
    sums: npt.ArrayLike, counts: Sequence[int], seed: int = 0, bounds: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The 95 percent percentile interval of a mean over groups (Efron, Ann. Statist. 7, 1979), by resampling groups.

    Cases of one group (such as the questions on one picture) depend on each other, so groups are drawn, not cases.
    Where all groups have one mean, every draw has it, too, however few they are. With ``bounds``, the share of groups
    that have another is then taken to be at most the upper end of Wilson's interval of 0 in G, and their means to lie
    anywhere within the bounds: where all are 0 or 1, that is Wilson's interval of the groups.

    Args:
        sums: (G,) the sum of the values in each of G groups, or (G, K) of K quantities whose means are added.
        counts: (G,) cases in each group.
        seed: of the draws; the same seed gives the same interval.
        bounds: the least and the greatest mean that a group can have; None leaves groups that agree without a width.

    Returns:
        (low, high).
    """
    values = np.asarray(sums, dtype=np.float64).reshape(len(counts), -1).sum(axis=1)
    sizes = np.asarray(counts, dtype=np.float64)
    if bounds is not None and np.ptp(values / sizes) < _ALIKE:
        mean, others = float(values.sum() / sizes.sum()), wilson_interval(0, len(values))[1]
        return mean - others * (mean - bounds[0]), mean + others * (bounds[1] - mean)
    random = np.random.default_rng(seed)
    means = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(0, len(values), len(values))
        means.append(values[drawn].sum() / sizes[drawn].sum())
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_sum_interval(strata: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The 95 percent percentile interval of a sum of means, by resampling each stratum on its own.

    Args:
        strata: the values of each, such as the scores of the pictures of one category; none gives (0, 0).
        seed: of the draws.

    Returns:
        (low, high).
    """
    random = np.random.default_rng(seed)
    sums = np.zeros(_RESAMPLES)
    for stratum in strata:
        values = np.asarray(stratum, dtype=np.float64)
        for number in range(_RESAMPLES):
            sums[number] += values[random.integers(0, len(values), len(values))].mean()
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(sums, [tail, 1 - tail])
    return float(low), float(high)

"""Intervals and tests for counts of successes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sinew.core.errors import DataError


def wilson(successes: int, trials: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate (Wilson 1927).

    Args:
        successes: episodes that reached the goal.
        trials: episodes run; at least 1.
        z: normal quantile; 1.96 gives 95 %.

    Returns:
        Lower and upper bound, both within [0, 1].

    Raises:
        DataError: ``trials`` is 0 or ``successes`` is not within 0 .. ``trials``.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise DataError(f"{successes} successes of {trials} episodes have no success rate; run at least one episode.")
    rate = successes / trials
    spread = z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else centre - half  # exact at the ends, where rounding would leave 1e-17
    high = 1.0 if successes == trials else centre + half
    return low, high


def bootstrap_seeds(
    table: ArrayLike, *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return a percentile interval of the mean over training seeds x initial states (Efron 1979).

    Seeds and states are drawn again independently of each other, so the interval speaks of new
    training runs on new states (the pigeonhole bootstrap, Owen 2007, arXiv:0712.1111). A table
    without any variation gets an interval of width 0: quote Wilson's beside it.

    Args:
        table: (seeds, states) of 0 and 1, the same states in every row.
        draws: resamples.
        seed: of the resampling.
        level: coverage.

    Raises:
        DataError: the table is empty or is not two-dimensional.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"a bootstrap over seeds x states needs a table with both, got the shape {values.shape}.")
    num_seeds, num_states = values.shape
    random = np.random.default_rng(seed)
    # Drawing with replacement is a multinomial count of how often each seed and each state appears.
    seeds = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=draws)
    states = random.multinomial(num_states, np.full(num_states, 1 / num_states), size=draws)
    means = np.einsum("ds,ds->d", seeds @ values, states) / values.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that two policies succeed equally often (McNemar 1947).

    The exact form is a sign test: of the states on which exactly one succeeded, each policy is as
    likely to be that one.

    Args:
        only_first: states on which only the first policy succeeded.
        only_second: states on which only the second one did.
    """
    trials = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(trials, count) for count in range(fewer + 1)) / 2**trials
    return min(1.0, 2 * tail)


def paired_difference(
    both: int, only_first: int, only_second: int, neither: int, *, z: float = 1.96
) -> tuple[float, float, float]:
    """Return first rate minus second rate on the same states, with its interval (Newcombe 1998).

    Method 10 of "Improved confidence intervals for the difference between binomial proportions based
    on paired data", Statistics in Medicine 17, 2635: Wilson's intervals combined with the (corrected)
    correlation phi of the two.

    Args:
        both: states on which both succeeded.
        only_first: states on which only the first succeeded.
        only_second: states on which only the second succeeded.
        neither: states on which both failed.
        z: normal quantile; 1.96 gives 95 %.

    Returns:
        Difference, lower and upper bound, within [-1, 1].

    Raises:
        DataError: there are no states.
    """
    trials = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    low_first, high_first = wilson(first, trials, z=z)
    low_second, high_second = wilson(second, trials, z=z)
    rate_first, rate_second = first / trials, second / trials
    margins = first * (trials - first) * second * (trials - second)
    cross = both * neither - only_first * only_second
    if cross > 0:
        cross = max(cross - trials / 2, 0)
    phi = cross / math.sqrt(margins) if margins else 0.0
    down = _combine(rate_first - low_first, high_second - rate_second, phi)
    up = _combine(high_first - rate_first, rate_second - low_second, phi)
    difference = (only_first - only_second) / trials
    return difference, difference - down, difference + up


def _combine(one: float, two: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * two + two * two, 0.0))

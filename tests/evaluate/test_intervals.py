from __future__ import annotations

import math

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.evaluate.intervals import bootstrap_seeds, mcnemar, paired_difference, wilson


def test_wilson_matches_a_value_worked_out_by_hand() -> None:
    # z = 2, 8 of 10: centre (0.8 + 0.2) / 1.4 = 5/7, half sqrt(0.064 + 0.04) ... / 1.4
    half = math.sqrt(0.8 * 0.2 * 0.4 + 0.4 * 0.4 / 4) / 1.4
    assert wilson(8, 10, z=2.0) == pytest.approx((5 / 7 - half, 5 / 7 + half))


def test_wilson_at_the_ends_is_known_in_closed_form() -> None:
    # With no success the upper bound is z^2 / (n + z^2).
    assert wilson(0, 10, z=2.0) == pytest.approx((0.0, 4 / 14))
    assert wilson(10, 10, z=2.0) == pytest.approx((10 / 14, 1.0))
    assert wilson(0, 200)[1] == pytest.approx(0.01885, abs=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(DataError, match="no success rate"):
        wilson(successes, trials)


def test_mcnemar_matches_a_published_example() -> None:
    # Armitage and Berry 1994, p. 127: 12 against 2; 2 * (1 + 14 + 91) / 2^14 by hand.
    assert mcnemar(12, 2) == pytest.approx(212 / 16384)
    assert mcnemar(2, 12) == mcnemar(12, 2)


def test_mcnemar_shows_nothing_without_disagreement() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


def test_paired_difference_matches_a_published_example() -> None:
    # Airway reactivity before and after transplantation, 1 / 1 / 7 / 12 of 21 (Fagerland 2014).
    difference, low, high = paired_difference(1, 1, 7, 12)
    assert difference == pytest.approx(-6 / 21)
    assert (low, high) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_paired_difference_of_equal_policies_holds_zero() -> None:
    difference, low, high = paired_difference(90, 5, 5, 0)
    assert difference == 0
    assert low < 0 < high
    assert paired_difference(50, 0, 0, 0)[0] == 0


def test_paired_difference_turns_its_sign_with_the_order() -> None:
    difference, low, high = paired_difference(30, 12, 4, 4)
    assert paired_difference(30, 4, 12, 4) == pytest.approx((-difference, -high, -low))


def test_bootstrap_covers_the_mean_and_repeats() -> None:
    table = np.random.default_rng(0).random((3, 100)) < 0.8
    low, high = bootstrap_seeds(table)
    assert low < table.mean() < high
    assert (low, high) == bootstrap_seeds(table)


def test_bootstrap_is_wider_when_seeds_disagree() -> None:
    alike = np.tile(np.arange(100) % 4 > 0, (4, 1))
    apart = np.stack([np.arange(100) < 100 * rate for rate in (1.0, 1.0, 0.5, 0.5)])
    assert alike.mean() == apart.mean()
    assert np.diff(bootstrap_seeds(apart)) > 2 * np.diff(bootstrap_seeds(alike))


def test_bootstrap_of_one_seed_is_the_plain_bootstrap() -> None:
    table = (np.arange(400) % 2)[None]
    low, high = bootstrap_seeds(table)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=5e-3)


def test_bootstrap_refuses_an_empty_table() -> None:
    with pytest.raises(DataError, match="seeds x states"):
        bootstrap_seeds(np.zeros((0, 5)))

from __future__ import annotations

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.moments import Moments, merge

ROWS = np.random.default_rng(0).normal((0.0, 1e4, -3.0), (1.0, 1e-2, 5.0), (400, 3))


def same(one: Moments, two: Moments) -> None:
    assert one.count == two.count
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(one.m2, two.m2, rtol=1e-9)
    np.testing.assert_array_equal(one.low, two.low)
    np.testing.assert_array_equal(one.high, two.high)


def test_a_number_worked_out_by_hand() -> None:
    found = Moments.of(np.array([[1.0], [2.0], [6.0]]))
    assert (found.count, found.mean.tolist(), found.m2.tolist()) == (3, [3.0], [14.0])
    assert found.std.tolist() == [pytest.approx((14 / 3) ** 0.5)]


@pytest.mark.parametrize("cuts", [(1,), (399,), (10, 10, 200), (50, 51, 52, 300)])
def test_parts_merged_are_the_whole_in_any_order(cuts: tuple[int, ...]) -> None:
    parts = [Moments.of(part) for part in np.split(ROWS, cuts)]
    same(merge(*parts), Moments.of(ROWS))
    same(merge(*reversed(parts)), Moments.of(ROWS))


def test_a_mean_far_from_zero_costs_no_precision() -> None:
    far = ROWS[:, 2:] + 1e9
    found = merge(*(Moments.of(part) for part in np.split(far, 40)))
    np.testing.assert_allclose(found.std, ROWS[:, 2:].std(axis=0), rtol=1e-6)
    naive = np.sqrt(np.square(far.astype(np.float32)).mean() - far.astype(np.float32).mean() ** 2)
    assert not np.isclose(naive, ROWS[:, 2].std(), rtol=0.5)  # what differences of squares make of it


def test_rows_with_a_nan_do_not_count() -> None:
    holed = ROWS.copy()
    holed[::3, 1] = np.nan
    same(Moments.of(holed), Moments.of(np.delete(ROWS, slice(None, None, 3), axis=0)))
    same(merge(Moments.of(holed[::3]), Moments.of(ROWS)), Moments.of(ROWS))


def test_other_columns_are_refused() -> None:
    with pytest.raises(DataError, match="moments of 3 and of 2 values"):
        Moments.of(ROWS).merged(Moments.of(ROWS[:, :2]))

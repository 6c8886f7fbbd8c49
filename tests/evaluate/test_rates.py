from __future__ import annotations

from collections.abc import Callable

import pytest

from sinew.core.errors import DataError
from sinew.evaluate.intervals import bootstrap_seeds, wilson
from sinew.evaluate.rates import ALL, find, rates
from sinew.evaluate.success import Cell


def test_one_run_has_a_rate_per_cell_and_one_over_all_tasks(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(9, 10), make_cell(5, 20, task="right"), make_cell(0, 5, control="wrong")]
    found = rates([cells])
    assert [(one.task, one.control, one.successes, one.n) for one in found] == [
        ("left", "none", 9, 10),
        ("right", "none", 5, 20),
        (ALL, "none", 14, 30),
        ("left", "wrong", 0, 5),
        (ALL, "wrong", 0, 5),
    ]
    everything = find(found, ALL)
    assert everything is not None
    assert (everything.low, everything.high) == wilson(14, 30)
    assert (everything.rate, everything.seeds, everything.lowest) == (14 / 30, 1, 14 / 30)
    assert find(found, "right", control="wrong") is None


def test_pooled_runs_have_the_wider_of_wilson_and_bootstrap(make_cell: Callable[..., Cell]) -> None:
    (apart, _) = rates([[make_cell(100, 100)], [make_cell(50, 100)]])
    table = [[1] * 100, [1] * 50 + [0] * 50]
    assert (apart.low, apart.high) == bootstrap_seeds(table)
    assert (apart.successes, apart.n, apart.seeds, apart.lowest) == (150, 200, 2, 0.5)


def test_pooled_runs_that_never_fail_still_have_an_interval(make_cell: Callable[..., Cell]) -> None:
    (perfect, _) = rates([[make_cell(100, 100)]] * 3)
    assert (perfect.low, perfect.high) == wilson(300, 300)


def test_runs_on_other_states_are_not_pooled(make_cell: Callable[..., Cell]) -> None:
    with pytest.raises(DataError, match="evaluation 2 tried other episodes"):
        rates([[make_cell(9, 10)], [make_cell(9, 11)]])

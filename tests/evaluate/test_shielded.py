"""What is measured behind the shield, on the line world."""

from __future__ import annotations

import io

from rich.console import Console

from sinew.evaluate.plan import Listing
from sinew.evaluate.shielded import SHIELD, Shielded, shield_listings, shield_table
from sinew.evaluate.success import Cell, measure
from sinew.safety.limits import ShieldLimits, limits_from_spec
from toy import ToyConfig

WORLD = ToyConfig(max_ticks=20)
SLOW = ShieldLimits(("move",), ("m",), (0.1,), (5.0,))
"""A quarter of a step a tick: too slow to arrive in time."""


def cells(limits: ShieldLimits, rows: int = 4) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Return the expert's cells without and with a shield."""
    env = WORLD.build(1)
    listings = [Listing("seen", task, "none", env.states("seen", task, 6)) for task in env.tasks]
    plain = measure("expert", WORLD, listings, rows=rows)
    return plain, measure(Shielded("expert", limits), WORLD, shield_listings(plain), rows=rows)


def test_a_shield_that_is_too_slow_costs_success_and_says_how_often_it_stepped_in() -> None:
    plain, shielded = cells(SLOW)
    assert [cell.rate for cell in plain] == [1.0, 1.0]
    assert [cell.rate for cell in shielded] == [0.0, 0.0]
    assert all(cell.control == SHIELD for cell in shielded)
    for outcome in (outcome for cell in shielded for outcome in cell.outcomes):
        assert sum(outcome.interventions.values()) == outcome.ticks
        assert set(outcome.interventions) <= {"velocity", "acceleration"}


def test_interventions_do_not_depend_on_how_many_rows_run_together() -> None:
    limits = limits_from_spec(WORLD.spec)
    assert cells(limits, rows=1)[1] == cells(limits, rows=5)[1]


def test_the_table_shows_both_rates_and_the_ticks_changed() -> None:
    file = io.StringIO()
    Console(file=file, width=100).print(shield_table(*cells(SLOW)))
    lines = {line.split()[0]: line.split() for line in file.getvalue().splitlines() if line.strip()}
    assert lines["left"][1:4] == ["6", "100", "0"]
    assert lines["all"][1:4] == ["12", "100", "0"]
    assert lines["all"][5:8] == ["20.0", "of", "20.0"]
    assert lines["all"][8] == "velocity"

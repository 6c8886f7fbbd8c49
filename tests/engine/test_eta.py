"""The time that is left, on timings whose end is known."""

from __future__ import annotations

import pytest

from sinew.engine.eta import Eta
from sinew.engine.forecast import Stop

ROUNDS = [Stop(200, 30.0, "rounds"), Stop(400, 30.0, "rounds")]


def test_a_steady_run_is_foreseen_exactly() -> None:
    eta = Eta(1000)
    assert eta.left() is None
    for update in (50, 100):
        eta.see(update, 0.2 * update)
    assert eta.left() == pytest.approx(0.2 * 900)


def test_before_the_first_row_the_forecast_speaks() -> None:
    assert Eta(1000, ROUNDS, update_s=0.1).left() == pytest.approx(160)


def test_stops_to_come_are_counted_and_stretched_as_the_updates_are() -> None:
    eta = Eta(1000, ROUNDS, update_s=0.1)
    eta.see(100, 20.0)  # twice as slow as foreseen
    assert eta.left() == pytest.approx(0.2 * 900 + 2 * 60)


def test_a_stop_that_took_longer_tells_of_the_next_and_nothing_of_the_pace() -> None:
    eta = Eta(1000, ROUNDS, update_s=0.1)
    eta.see(200, 20.0)
    eta.see(300, 20.0 + 10.0 + 45.0)  # the first round took 45 s
    assert eta.pace() == pytest.approx(0.1)
    assert eta.left() == pytest.approx(0.1 * 700 + 45)


def test_at_the_end_nothing_is_left() -> None:
    eta = Eta(300, [Stop(100, 5.0, "rounds")])
    eta.see(100, 10.0)
    eta.see(300, 35.0)
    assert eta.left() == 0


def test_a_run_that_goes_on_counts_what_came_before() -> None:
    eta = Eta(1000, ROUNDS, update_s=0.1)
    eta.see(500, 50.0 + 60.0)
    assert eta.left() == pytest.approx(0.1 * 500)


def test_the_first_row_is_forgotten_when_there_is_another() -> None:
    eta = Eta(1000)
    eta.see(50, 30.0)
    assert eta.pace() == pytest.approx(0.6)
    eta.see(100, 35.0)
    assert eta.pace() == pytest.approx(0.1)


def test_a_slow_checkpoint_says_nothing_of_the_rounds() -> None:
    eta = Eta(1000, [Stop(100, 0.01, "checkpoints"), *ROUNDS], update_s=0.1)
    for update, elapsed in ((50, 5.0), (100, 10.0), (150, 16.0)):
        eta.see(update, elapsed)
    assert eta.left() == pytest.approx(850 * 11.0 / 100 + 2 * 30 * 1.1, rel=0.01)


def test_updates_of_a_costlier_stage_count_for_more() -> None:
    eta = Eta(300, [Stop(250, 5.0, "tryouts")], update_s=0.2, paces=[(0, 0.1), (200, 0.4)])
    assert eta.left() == pytest.approx(200 * 0.1 + 100 * 0.4 + 5)
    eta.see(50, 10.0)  # twice as slow as foreseen
    assert eta.left() == pytest.approx(2 * (150 * 0.1 + 100 * 0.4 + 5))
    eta.see(210, 50.0)  # across the border: 15 + 4 were foreseen, 38 and the warm first row came
    assert eta.left() == pytest.approx(90 * 0.4 * 40 / 19 + 5 * 40 / 19)

"""The grid of ticks under fast, slow and hanging work."""

from __future__ import annotations

import pytest

from envs.fake_robot import FakeClock
from sinew.core.errors import ConfigError
from sinew.envs.rate import Rate, SystemClock


def test_errors_do_not_add_up() -> None:
    clock = FakeClock()
    rate = Rate(20.0, clock)
    for tick in range(10_000):
        assert rate.wait() == pytest.approx(100.0 + tick * 0.05)
        clock.time += 0.03 + 0.0199 * (tick % 2)  # what a tick takes
    assert clock.time - 100.0 == pytest.approx(10_000 * 0.05, abs=0.05)
    assert rate.missed == 0


def test_a_late_tick_does_not_push_the_next() -> None:
    clock = FakeClock()
    rate = Rate(10.0, clock)
    rate.wait()
    clock.time += 0.14
    assert rate.wait() == pytest.approx(100.1)
    assert rate.late_s == pytest.approx(0.04)
    clock.time += 0.01
    assert rate.wait() == pytest.approx(100.2)
    assert (rate.late_s, rate.missed) == (0.0, 0)
    assert clock.time == pytest.approx(100.2)


def test_whole_missed_ticks_are_passed_over_and_counted() -> None:
    clock = FakeClock()
    rate = Rate(10.0, clock)
    rate.wait()
    clock.time += 0.57
    assert rate.wait() == pytest.approx(100.5)
    assert (rate.tick, rate.missed) == (5, 4)
    assert rate.wait() == pytest.approx(100.6)


@pytest.mark.parametrize("hz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(hz: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Rate(hz)


def test_the_system_clock_keeps_the_rate() -> None:
    clock = SystemClock()
    rate = Rate(100.0, clock)
    start = clock.now()
    for _ in range(21):
        rate.wait()
    assert clock.now() - start >= 0.2

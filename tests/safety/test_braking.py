"""The braking formula against brute force, and where it starts from a state that it cannot hold."""

from __future__ import annotations

import numpy as np
import pytest

from sinew.safety.braking import BOUNDS, OUTSIDE, Braking, fastest_to


def stopping_distance(velocity: float, acceleration: float, dt: float) -> float:
    """Return what is covered from this tick on, tick by tick."""
    distance = 0.0
    while velocity > 0:
        distance += velocity * dt
        velocity -= acceleration * dt
    return distance


def test_fastest_velocity_worked_by_hand() -> None:
    # a = 2, dt = 0.1: 0.4, then 0.2, covers 0.04 + 0.02.
    assert fastest_to(np.array([0.06]), np.array([2.0]), 0.1) == pytest.approx(0.4)
    assert fastest_to(np.array([0.0, -1.0]), np.array([2.0, 2.0]), 0.1).tolist() == [0.0, 0.0]


def test_fastest_velocity_just_stops_in_time() -> None:
    rng = np.random.default_rng(0)
    for distance, acceleration, dt in rng.uniform((1e-6, 0.1, 1e-3), (2.0, 10.0, 0.2), (200, 3)):
        velocity = float(fastest_to(np.array([distance]), np.array([acceleration]), dt)[0])
        assert stopping_distance(velocity, acceleration, dt) == pytest.approx(distance, rel=1e-9)


def braking(low: float = -1.0, high: float = 1.0) -> Braking:
    """Return one axis: 1 unit/s, 2 unit/s^2, 10 Hz."""
    found = Braking(np.array([1.0]), np.array([2.0]), np.array([low]), np.array([high]), 10.0)
    found.grow(1)
    return found


def test_too_fast_for_the_bound_brakes_as_hard_as_allowed_and_says_so() -> None:
    axis = braking()
    axis.start(slice(0, 1), np.array([[0.95]]), np.array([[1.0]]))
    speeds: list[float] = []
    for tick in range(8):
        _, why = axis.move(slice(0, 1), np.array([[5.0]]))
        speeds.append(float(axis.speed[0, 0]))
        assert why is not None
        assert why[0] == (OUTSIDE if tick < 4 else BOUNDS)
    assert speeds[:5] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert speeds[5:] == pytest.approx([0.0, 0.0, 0.0])


def test_outside_the_bounds_only_the_way_back_is_open() -> None:
    axis = braking()
    axis.start(slice(0, 1), np.array([[1.2]]))
    outward, _ = axis.move(slice(0, 1), np.array([[1.5]]))
    inward, _ = axis.move(slice(0, 1), np.array([[1.19]]))
    assert outward[0, 0] == 1.2
    assert inward[0, 0] == pytest.approx(1.19)


def test_an_axis_without_bounds_is_not_held_back() -> None:
    axis = braking(-np.inf, np.inf)
    axis.start(slice(0, 1), np.array([[0.0]]))
    for _ in range(100):
        axis.move(slice(0, 1), np.array([[1e9]]))
    assert axis.speed[0, 0] == pytest.approx(1.0)
    assert axis.position[0, 0] > 9.0

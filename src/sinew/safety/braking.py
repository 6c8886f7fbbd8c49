"""The exact braking set of axes that are commanded once a tick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = slice | NDArray[np.int64]
"""Rows of a batch; a slice where they are the first ones, which is several times faster."""

REASONS = ("", "acceleration", "velocity", "bounds", "outside", "stale", "not finite")
"""Why a set-point was changed, by number; the largest of a row's axes is the row's.

"outside": the state was outside the braking set, so the axis brakes as hard as it may; "stale": what the
command rests on was too old; "not finite": it was NaN or infinite.
"""
ACCELERATION, VELOCITY, BOUNDS, OUTSIDE, STALE, NOT_FINITE = range(1, 7)
SLACK = 1e-6
"""Changes of a velocity below this share of its limit are rounding, not interventions."""


def fastest_to(distance: Array, acceleration: Array, dt: float) -> Array:
    """Return the largest velocity that can still come to rest within a distance.

    An axis that moves by v dt in this tick and then slows by a dt every tick covers
    dt ((n + 1) v - a dt n (n + 1) / 2) until it rests, with n = floor(v / (a dt)). Solved for v.

    Args:
        distance: from here to the bound [unit], finite; below 0 counts as 0.
        acceleration: a [unit/s^2].
        dt: length of a tick [s].
    """
    steps = np.maximum(distance, 0.0) / (acceleration * dt * dt)  # in units of what one tick of full braking changes
    ticks = np.floor(np.sqrt(2.0 * steps + 0.25) - 0.5)
    return acceleration * dt * (steps / (ticks + 1.0) + 0.5 * ticks)


class Braking:
    """Set-points of K axes in any number of rows, moved once a tick within velocity, acceleration and bounds.

    From inside the braking set (|v| <= velocity, and full braking stops within the bounds) every next
    set-point is inside it again, whatever is asked for. From outside, the acceleration limit is kept and
    the axis brakes as hard as it allows; a bound may then be crossed by what cannot be avoided, and it is
    never moved away from the bounds by choice.

    Args:
        velocity: (K,) [unit/s]. acceleration: (K,) [unit/s^2].
        low: (K,) [unit], -inf for none. high: (K,) [unit], inf for none.
        hz: ticks per second.

    Attributes:
        position: (R, K) set-points [unit]. speed: (R, K) their velocities [unit/s].
    """

    def __init__(self, velocity: Array, acceleration: Array, low: Array, high: Array, hz: float) -> None:
        self.velocity, self.acceleration, self.low, self.high = velocity, acceleration, low, high
        self.dt = 1.0 / hz
        self.step = acceleration * self.dt
        ticks = np.floor(velocity / self.step)
        self.far = 2.0 * self.dt * ((ticks + 1) * velocity - self.step * ticks * (ticks + 1) / 2)  # no bound matters
        self.slack = SLACK * velocity
        self.edge, self.sign = np.stack((high, -low))[:, None], np.array((1.0, -1.0))[:, None, None]
        self.position = np.zeros((0, len(velocity)))
        self.speed = np.zeros((0, len(velocity)))

    def grow(self, missing: int) -> None:
        """Make room for that many more rows."""
        more = np.zeros((missing, len(self.velocity)))
        self.position, self.speed = np.concatenate([self.position, more]), np.concatenate([self.speed, more])

    def start(self, rows: Index, position: Array, speed: Array | float = 0.0) -> None:
        """Say where rows that there is room for are, (B, K) [unit], and how fast they move, (B, K) [unit/s]."""
        self.position[rows], self.speed[rows] = position, speed

    def move(
        self, rows: Index, target: Array, brake: NDArray[np.bool_] | None = None
    ) -> tuple[Array, NDArray[np.int64] | None]:
        """Move towards targets for one tick.

        Args:
            rows: B of them.
            target: (B, K) where the set-points shall be at the end of this tick [unit].
            brake: (B,) rows that come to rest instead, as fast as they may; their targets may be anything.

        Returns:
            The new set-points (B, K) [unit], and per row why they are not the targets (B,), see ``REASONS``;
            None where they all are. What it says of rows that brake means nothing.
        """
        position = self.position[rows]
        wanted = (target - position) / self.dt
        if brake is not None:
            wanted[brake] = 0.0
        room = np.minimum(self.edge - self.sign * position, self.far)
        up, down = np.minimum(fastest_to(room, self.acceleration, self.dt), self.velocity)
        allowed = np.minimum(np.maximum(wanted, -down), up)
        speed = self.speed[rows]
        chosen = np.minimum(np.maximum(allowed, speed - self.step), speed + self.step)
        changed = np.abs(chosen - wanted) > self.slack
        self.speed[rows] = chosen
        self.position[rows] = moved = position + chosen * self.dt
        if not np.count_nonzero(changed):
            return moved, None
        why = np.where(np.abs(allowed) < self.velocity, BOUNDS, VELOCITY)
        hurried = np.abs(chosen - allowed) > self.slack
        if np.count_nonzero(hurried):
            why[hurried] = ACCELERATION
            why[np.maximum(chosen - up, -down - chosen) > self.slack] = OUTSIDE
        return moved, (why * changed).max(axis=1)

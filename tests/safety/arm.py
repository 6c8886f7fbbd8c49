"""A seven-axis arm for tests of the shield, an adversary, and a judge that keeps its own account."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import ActionKind, RobotSpec
from sinew.safety.limits import ShieldLimits

NAMES = tuple(f"joint_{number}" for number in range(7))
LIMITS = ShieldLimits(
    axes=NAMES,
    units=("rad",) * 7,
    velocity=(0.5, 0.5, 0.8, 1.0, 0.3, 0.5, 2.0),
    acceleration=(2.0, 5.0, 1.0, 0.7, 3.0, 9.9, 2.0),
    low=(-0.5, -0.2, -0.5, -0.4, 0.0, -0.5, -0.1),
    high=(0.5, 0.5, 0.3, 0.4, 0.6, 0.5, 0.1),
)
TOLERANCE = 1e-9
START = np.array([0.0, 0.1, 0.0, 0.0, 0.2, 0.0, 0.0])
Filter = Callable[[NDArray[np.float64], NDArray[np.float32]], NDArray[Any]]


def arm_spec(kind: ActionKind = "absolute", hz: float = 20.0) -> RobotSpec:
    """Return a robot with seven joints; its own bounds are wider than the limits."""
    reach = {"absolute": 1.0, "relative": 1.0}.get(kind, 0.2)
    return RobotSpec(
        embodiment="arm",
        cameras={},
        state=NAMES,
        state_units=("rad",) * 7,
        action=NAMES,
        action_units=("rad",) * 7,
        low=(-reach,) * 7,
        high=(reach,) * 7,
        hz=hz,
        kind=kind,
    )


def gripper_spec() -> RobotSpec:
    """Return the arm with a two-valued gripper as its fourth action and state value."""
    spec = arm_spec("delta")
    names = (*NAMES[:3], "grip", *NAMES[3:])
    units = (*("rad",) * 3, "1", *("rad",) * 4)
    return dataclasses.replace(
        spec,
        state=names,
        state_units=units,
        action=names,
        action_units=units,
        low=(*spec.low[:3], 0.0, *spec.low[3:]),
        high=(*spec.high[:3], 1.0, *spec.high[3:]),
        binary=("grip",),
    )


class Judge:
    """Follows the set-points that actions command; counts violations and keeps the worst excess over each limit."""

    def __init__(self, spec: RobotSpec, rows: int) -> None:
        self.spec = spec
        self.position, self.speed = np.tile(START, (rows, 1)), np.zeros((rows, 7))
        self.excess = dict.fromkeys(("velocity", "acceleration", "bounds"), -np.inf)
        self.violations = 0

    def state(self, noise: NDArray[np.float64] | float = 0.0) -> NDArray[np.float32]:
        """Return what the robot measures."""
        return (self.position + noise).astype(np.float32)

    def take(self, actions: NDArray[Any], state: NDArray[np.float32]) -> None:
        """Move the set-points, in double precision."""
        base = {"absolute": 0.0, "delta": self.position, "relative": state.astype(np.float64)}[self.spec.kind]
        position = base + actions.astype(np.float64)
        speed = (position - self.position) * self.spec.hz
        turn = (speed - self.speed) * self.spec.hz
        self.position, self.speed = position, speed
        self._note("velocity", np.abs(speed) - LIMITS.velocity)
        self._note("acceleration", np.abs(turn) - LIMITS.acceleration)
        self._note("bounds", np.maximum(position - LIMITS.highest, np.asarray(LIMITS.lowest) - position))

    def _note(self, name: str, excess: NDArray[np.float64]) -> None:
        self.excess[name] = max(self.excess[name], float(excess.max()))
        self.violations += int((excess > TOLERANCE).sum())


class Adversary:
    """Asks for what breaks limits: full speed at the bounds, reversals, jumps, noise, NaN and infinity."""

    def __init__(self, spec: RobotSpec, rows: int, seed: int) -> None:
        self.spec, self.rng, self.shape = spec, np.random.default_rng(seed), (rows, 7)
        self.aim = np.zeros(self.shape)
        self.left = np.zeros(self.shape, dtype=np.int64)

    def actions(self, judge: Judge, state: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (rows, 7) wanted actions."""
        renewed = self.left == 0
        far = self.rng.choice((-1e6, -2.0, -0.6, -0.1, 0.1, 0.6, 2.0, 1e6), self.shape)
        edge = np.where(self.rng.random(self.shape) < 0.5, LIMITS.lowest, LIMITS.highest)
        near = judge.position + self.rng.normal(0.0, 0.02, self.shape)
        kind = self.rng.integers(0, 3, self.shape)
        self.aim = np.where(renewed, np.choose(kind, (far, edge, near)), self.aim)
        self.left = np.where(renewed, self.rng.integers(1, 40, self.shape), self.left) - 1
        base = {"absolute": 0.0, "delta": judge.position, "relative": state}[self.spec.kind]
        wanted = np.asarray(self.aim - base)
        wanted[self.rng.random(self.shape) < 0.001] = np.nan
        wanted[self.rng.random(self.shape) < 0.001] = np.inf
        return wanted


def torment(spec: RobotSpec, guard: Filter, *, rows: int, ticks: int, noise: float = 0.0, seed: int = 0) -> Judge:
    """Let the adversary act through a filter and return the judge."""
    judge, adversary = Judge(spec, rows), Adversary(spec, rows, seed)
    rng = np.random.default_rng(seed + 1)
    for tick in range(ticks):
        state = judge.state(rng.normal(0.0, noise, (rows, 7)))
        if tick == 0:
            judge.position = state.astype(np.float64)  # set-points start where the axes are measured to be
        judge.take(guard(adversary.actions(judge, state), state), state)
    return judge


class NaiveClip:
    """What is often called a shield: clip velocity, then acceleration, then bounds."""

    def __init__(self, spec: RobotSpec, rows: int) -> None:
        self.hz = spec.hz
        self.position, self.speed = np.tile(START, (rows, 1)), np.zeros((rows, 7))

    def __call__(self, actions: NDArray[np.float64], state: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return clipped absolute set-points, in double precision so that no rounding is held against them."""
        velocity, acceleration = np.asarray(LIMITS.velocity), np.asarray(LIMITS.acceleration)
        wanted = (np.nan_to_num(actions, posinf=0.0) - self.position) * self.hz
        step = acceleration / self.hz
        speed = np.clip(np.clip(wanted, -velocity, velocity), self.speed - step, self.speed + step)
        position = np.clip(self.position + speed / self.hz, LIMITS.lowest, LIMITS.highest)
        self.position, self.speed = position, (position - self.position) * self.hz
        return position

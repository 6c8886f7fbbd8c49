"""The shield: whatever a policy says, what reaches the robot keeps to the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.spec import check_spec
from sinew.core.types import NumpyObservation, Policy, RobotSpec, Rows
from sinew.safety.braking import NOT_FINITE, REASONS, STALE, Array, Braking, Index
from sinew.safety.limits import ShieldLimits

ABSURD = 1e30
"""Action values beyond this are no numbers but accidents, and are treated like infinity."""
AT_REST = 1e-6
"""Share of the fastest velocity below which an axis rests."""


@dataclass(frozen=True)
class Verdict:
    """What the shield made of the actions of one tick.

    Attributes:
        wanted: (B, A) what the policy asked for. sent: (B, A) float32, what the robot gets.
        reasons: (B,) numbers into ``REASONS``; 0 where nothing was changed.
    """

    wanted: NDArray[Any]
    sent: NDArray[np.float32]
    reasons: NDArray[np.int64]


class Shield:
    """Keeps the set-points of a robot's axes within their limits, per row; needs numpy only.

    Actions become set-points, set-points are moved within the braking set (``Braking``), and go back to
    actions. "absolute": the action is the set-point. "delta": what is added to it. "relative": what is added
    to the measured position. An episode starts at rest at the measured position. Actions are float32; limits
    are narrowed by what that rounding can do, so that the numbers sent keep to them exactly.

    Args:
        limits: of the axes.
        spec: of the robot; its own action bounds hold as well.

    Attributes:
        last: what was made of the last actions.
        counts: (R, len(REASONS)) ticks of each row's episode by reason.

    Raises:
        ConfigError: limits and spec do not belong together, or a limit is too small for float32.
        SpecError: actions of this kind cannot be shielded.
    """

    def __init__(self, limits: ShieldLimits, spec: RobotSpec) -> None:
        if spec.kind not in ("absolute", "delta", "relative"):
            raise SpecError(
                f"{spec.embodiment}: actions of kind {spec.kind} cannot be shielded, since they are not set-points of "
                "axes. Shield the controller that follows them, or use absolute, delta or relative actions."
            )
        check_limits(limits, spec)
        self.limits, self.spec = limits, spec
        numbers = [spec.action.index(axis) for axis in limits.axes]
        self.rest = np.array([number for number in range(spec.action_size) if number not in numbers], dtype=np.int64)
        self.low, self.high = np.asarray(spec.low)[numbers], np.asarray(spec.high)[numbers]
        self.braking = _braking(limits, spec, self.low, self.high)
        consecutive = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        self.axes: Index = slice(numbers[0], numbers[-1] + 1) if consecutive else np.array(numbers)
        self.reading = _reading(limits, spec)
        self.blind = spec.kind != "relative" and limits.follow == "command"  # after the start, the state only tells NaN
        self.held_from = [spec.state.index(name) if name in spec.state else -1 for name in spec.action]
        self.sent: Array = np.zeros((0, len(numbers)))
        self.measured: Array = np.zeros((0, len(numbers)))
        self.held: NDArray[np.float32] = np.zeros((0, len(self.rest)), dtype=np.float32)
        self.started: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.counts: NDArray[np.int64] = np.zeros((0, len(REASONS)), dtype=np.int64)
        nothing = np.zeros((0, spec.action_size), dtype=np.float32)
        self.last = Verdict(nothing, nothing, np.zeros(0, dtype=np.int64))

    def reset(self, rows: Rows = None) -> None:
        """Start new episodes: the next state of these rows says where their axes are."""
        self.started[_known(rows, len(self.started))] = False

    def filter(
        self,
        actions: NDArray[Any],
        state: NDArray[np.float32],
        rows: Rows = None,
        *,
        stale: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the actions to send in this tick.

        Args:
            actions: (B, A) wanted, physical units. A row with NaN or infinity, here or in its state, brakes.
            state: (B, S) measured, physical units.
            rows: B row numbers; None means 0 .. B-1.
            stale: (B,) rows whose action or state is too old to act on; they brake.

        Raises:
            DataError: an episode starts with a state that is not finite.
        """
        index = self._index(rows, len(actions))
        bad = _accidents(actions, state)
        brake = stale if bad is None else bad if stale is None else bad | stale
        measured = self._measure(index, state, brake)
        target = actions[:, self.axes].astype(np.float64)
        if self.spec.kind == "delta":
            target += self.braking.position[index]
        elif self.spec.kind == "relative":
            target += measured
        position, reasons = self.braking.move(index, target, brake)
        if reasons is None:
            reasons = np.zeros(len(actions), dtype=np.int64)
        if stale is not None:
            reasons[stale] = STALE
        if bad is not None:
            reasons[bad] = NOT_FINITE
        sent = np.empty(actions.shape, dtype=np.float32)
        sent[:, self.axes] = self._actions(index, position, measured)
        if len(self.rest):
            sent[:, self.rest] = self._pass(index, actions[:, self.rest], brake)
        self.counts[_numbers(index), reasons] += 1
        self.last = Verdict(actions, sent, reasons)
        return sent

    def brake(self, state: NDArray[np.float32], rows: Rows = None) -> NDArray[np.float32]:
        """Return the actions (B, A) that bring these rows to rest; call it every tick until ``at_rest``."""
        nothing = np.zeros((len(state), self.spec.action_size))
        return self.filter(nothing, state, rows, stale=np.ones(len(state), dtype=np.bool_))

    def at_rest(self, rows: Rows = None) -> bool:
        """Return whether all axes of these rows rest."""
        speed = self.braking.speed[_known(rows, len(self.started))]
        return bool((np.abs(speed) <= AT_REST * self.braking.velocity).all())

    def interventions(self, row: int = 0) -> Mapping[str, int]:
        """Return the ticks of a row's episode in which its action was changed, by reason; none means an empty dict."""
        found = self.counts[row] if row < len(self.counts) else np.zeros(len(REASONS), dtype=np.int64)
        return {name: int(number) for name, number in zip(REASONS, found, strict=True) if name and number}

    def _index(self, rows: Rows, count: int) -> Index:
        """Return the rows, with room for them; as a slice where that is possible, since it is faster."""
        index = slice(0, count) if rows is None else np.asarray(rows, dtype=np.int64)
        missing = (count if isinstance(index, slice) else int(index.max(initial=-1)) + 1) - len(self.started)
        if missing > 0:
            self.braking.grow(missing)
            for name in ("sent", "measured", "held", "started", "counts"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros((missing, *array.shape[1:]), dtype=array.dtype)]))
        return index

    def _measure(self, index: Index, state: NDArray[np.float32], brake: NDArray[np.bool_] | None) -> Array:
        """Return where the axes are measured to be (B, K); the last known place where the state is no number."""
        started = self.started[index]
        fresh = np.count_nonzero(started) < len(started)
        if self.blind and not fresh:
            return self.measured[index]
        numbers = state if brake is None else np.nan_to_num(state)
        measured = numbers.astype(np.float64) @ self.reading
        if fresh:
            self._start(_numbers(index)[~started], measured[~started], state[~started])
        if brake is not None:
            lost = ~np.isfinite(state).all(axis=1)
            measured[lost] = self.measured[index][lost]
        self.measured[index] = measured
        if self.limits.follow == "state":  # rows that brake may have been read long ago; what was sent is known better
            known = self.braking.position[index]
            self.braking.position[index] = measured if brake is None else np.where(brake[:, None], known, measured)
        return measured

    def _start(self, rows: NDArray[np.int64], measured: Array, state: NDArray[np.float32]) -> None:
        if not np.isfinite(state).all():
            raise DataError(
                f"shield: an episode starts with state {state.tolist()} ({', '.join(self.spec.state)}); "
                "finite values are needed to know where the axes are."
            )
        self.braking.start(rows, measured)
        self.sent[rows], self.counts[rows], self.started[rows] = measured, 0, True
        for place, number in enumerate(self.rest):
            source = self.held_from[number]
            self.held[rows, place] = self.spec.low[number] if source < 0 else state[:, source]

    def _actions(self, index: Index, position: Array, measured: Array) -> NDArray[np.float32]:
        """Return set-points as action values, and remember where these really put them."""
        if self.spec.kind == "absolute":
            return position.astype(np.float32)
        if self.limits.follow == "state":
            return (self.braking.speed[index] * self.braking.dt).astype(np.float32)
        base = measured if self.spec.kind == "relative" else self.sent[index]
        moved = np.minimum(np.maximum(position - base, self.low), self.high).astype(np.float32)
        self.sent[index] = base + moved
        return moved

    def _pass(self, index: Index, values: NDArray[Any], brake: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Return the values that are not limited; rows that brake keep their last ones."""
        kept = values.astype(np.float32)
        if brake is not None:
            kept[brake] = self.held[index][brake]
        self.held[index] = kept
        return kept


class ShieldedPolicy:
    """A policy with the shield in series; a ``Policy`` itself.

    Args:
        policy: what acts.
        shield: what limits; of the same robot.

    Raises:
        SpecError: they are made for different robots.
    """

    def __init__(self, policy: Policy, shield: Shield) -> None:
        check_spec(policy.spec, shield.spec, sides=("policy", "shield"), advice="Shield a policy with its own robot.")
        self.policy, self.shield = policy, shield

    @property
    def spec(self) -> RobotSpec:
        """The robot of the policy within."""
        return self.policy.spec

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows: an episode starts."""
        self.policy.reset(rows)
        self.shield.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return the limited actions (B, A); what was wanted and why it was changed is in ``shield.last``."""
        return self.shield.filter(self.policy.select_action(obs, rows), obs.state[:, -1], rows)

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return where the policy within thinks the named things are; empty when it does not say."""
        points = getattr(self.policy, "points", None)
        return {} if points is None else points()


def check_limits(limits: ShieldLimits, spec: RobotSpec) -> None:
    """Refuse limits that do not fit a robot.

    Raises:
        ConfigError: unknown axes or units, axes left out, or positions that the state does not hold.
    """
    unknown = sorted({*limits.axes, *limits.passed} - {*spec.action})
    if unknown:
        raise ConfigError(f"shield: {', '.join(unknown)} is no action of {spec.embodiment}: {', '.join(spec.action)}.")
    free = [name for name in spec.action if name not in (*spec.binary, *limits.axes, *limits.passed)]
    if free:
        raise ConfigError(f"shield: no limits for {', '.join(free)}. Give them, or name them in passed.")
    twice = sorted({*limits.axes} & {*spec.binary, *limits.passed})
    if twice:
        raise ConfigError(f"shield: {', '.join(twice)} has limits, but is two-valued or named in passed. Remove one.")
    for axis, unit in zip(limits.axes, limits.units, strict=True):
        known = spec.action_units[spec.action.index(axis)]
        if unit != known:
            raise ConfigError(f"shield: {axis} is limited in {unit}, the robot takes {known}. Convert the limits.")
    if limits.follow == "state" and (spec.kind != "delta" or not limits.position):
        raise ConfigError("shield: follow state is for delta actions whose position is named. Use follow command.")
    missing = sorted({name for names in _positions(limits, spec) for name in names} - {*spec.state})
    bounded = any(np.isfinite((*limits.lowest, *limits.highest)))
    if missing or (not _positions(limits, spec) and (bounded or spec.kind != "delta")):
        raise ConfigError(
            f"shield: where the axes {', '.join(limits.axes)} are must be measured, and the state "
            f"({', '.join(spec.state)}) has no {', '.join(missing or limits.axes)}. Name the values in position."
        )


def _positions(limits: ShieldLimits, spec: RobotSpec) -> tuple[tuple[str, ...], ...]:
    if limits.position or not {*limits.axes} <= {*spec.state}:
        return limits.position
    return tuple((axis,) for axis in limits.axes)


def _reading(limits: ShieldLimits, spec: RobotSpec) -> Array:
    """Return (S, K): state @ this is where the axes are."""
    reading = np.zeros((spec.state_size, len(limits.axes)))
    for axis, names in enumerate(_positions(limits, spec)):
        for name in names:
            reading[spec.state.index(name), axis] = 1.0
    return reading


def _accidents(actions: NDArray[Any], state: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return (B,) the rows whose action or state holds a value that is no number, or None when there is none."""
    if np.abs(actions).max(initial=0.0) < ABSURD and np.abs(state).max(initial=0.0) < ABSURD:
        return None
    numbers = (np.abs(actions) < ABSURD).all(axis=1) & (np.abs(state) < ABSURD).all(axis=1)
    return np.logical_not(numbers)


def _braking(limits: ShieldLimits, spec: RobotSpec, least: Array, most: Array) -> Braking:
    """Return the axes with limits that hold after rounding to float32, and after the robot's own clipping."""
    velocity, acceleration = np.array(limits.velocity), np.array(limits.acceleration)
    low, high = np.array(limits.lowest), np.array(limits.highest)
    if spec.kind == "absolute":
        low, high = np.maximum(low, least), np.minimum(high, most)
    elif spec.kind == "delta":
        velocity = np.minimum(velocity, np.minimum(-least, most) * spec.hz)
    largest = np.maximum(np.abs(least), np.abs(most)) if spec.kind != "delta" else velocity / spec.hz
    rounding = _rounding(largest)
    velocity, acceleration = velocity - 2 * rounding * spec.hz, acceleration - 4 * rounding * spec.hz**2
    rounding = rounding + np.maximum(_rounding(low), _rounding(high))  # the measured start is rounded too
    low, high = low + rounding, high - rounding
    for axis, *numbers in zip(limits.axes, velocity, acceleration, high - low, strict=True):
        if not min(numbers) > 0:
            raise ConfigError(
                f"shield: {axis} cannot be limited so tightly: its actions, {spec.low[spec.action.index(axis)]:g} to "
                f"{spec.high[spec.action.index(axis)]:g}, are single precision at {spec.hz:g} Hz. Raise its limits."
            )
    return Braking(velocity, acceleration, low, high, spec.hz)


def _rounding(values: Array) -> Array:
    """Return the most that numbers of this size are off in single precision; 0 for infinity."""
    return np.spacing(np.where(np.isfinite(values), np.abs(values), 0.0).astype(np.float32)).astype(np.float64)


def _numbers(index: Index) -> NDArray[np.int64]:
    return np.arange(index.stop) if isinstance(index, slice) else index


def _known(rows: Rows, count: int) -> NDArray[np.int64]:
    """Return the rows that there are already."""
    return np.arange(count) if rows is None else np.array([row for row in rows if row < count], dtype=np.int64)

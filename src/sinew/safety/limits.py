"""How fast, how hard and how far each axis of a robot may move: the shield's settings, light to import."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sinew.core import config as configs
from sinew.core.errors import ConfigError
from sinew.core.types import RobotSpec

RAMP_S = 0.3
"""From rest to full speed in this time [s], where limits are derived from a spec."""


@dataclass(frozen=True)
class ShieldLimits:
    """Limits per axis, K of them, in the units of the robot's actions.

    Attributes:
        axes: names of the action values that are limited.
        units: of their set-points, such as rad or m; held against the spec's.
        velocity: fastest change of the set-point [unit/s].
        acceleration: fastest change of that velocity, braking included [unit/s^2].
        low: lowest set-point [unit]; null for an axis without one, empty for none at all.
        high: highest set-point [unit]; likewise.
        position: for each axis the state values whose sum is its set-point: one name on most robots, two where
            the state holds the set-point as a lead over the position. Empty: the state values called like the axes.
        follow: "command" starts at ``position`` and then adds what was sent; "state" reads ``position`` anew
            every tick, for robots that change the set-point themselves (delta actions only).
        passed: further continuous action values that go through unlimited; two-valued ones always do.
        schema_version: version of this record.
    """

    axes: tuple[str, ...]
    units: tuple[str, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    position: tuple[tuple[str, ...], ...] = ()
    follow: Literal["command", "state"] = "command"
    passed: tuple[str, ...] = ()
    schema_version: int = 1

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing or everything.

        Raises:
            ConfigError: no axes, wrong lengths, numbers that are not positive, or low above high.
        """
        count = len(self.axes)
        if count == 0 or len({*self.axes}) != count:
            raise ConfigError(f"shield: axes are {list(self.axes)}; name at least one action value, each once.")
        for name in ("units", "velocity", "acceleration"):
            self._check_length(name, optional=False)
        for name in ("low", "high", "position"):
            self._check_length(name, optional=True)
        for name in ("velocity", "acceleration"):
            for axis, value in zip(self.axes, getattr(self, name), strict=True):
                if not (math.isfinite(value) and value > 0):
                    raise ConfigError(f"shield: {name} of {axis} is {value}; give a finite number above 0.")
        for axis, low, high in zip(self.axes, self.lowest, self.highest, strict=True):
            if not low < high:
                raise ConfigError(f"shield: {axis} may go from {low} to {high}; low must be below high.")

    @property
    def lowest(self) -> tuple[float, ...]:
        """``low`` with -inf where there is none, length K."""
        return tuple(-math.inf if value is None else value for value in self.low or (None,) * len(self.axes))

    @property
    def highest(self) -> tuple[float, ...]:
        """``high`` with inf where there is none, length K."""
        return tuple(math.inf if value is None else value for value in self.high or (None,) * len(self.axes))

    def _check_length(self, name: str, *, optional: bool) -> None:
        given = len(getattr(self, name))
        if given != len(self.axes) and not (optional and given == 0):
            raise ConfigError(
                f"shield: {name} has {given} values for {len(self.axes)} axes ({', '.join(self.axes)}). Give one each."
            )


def load_limits(path: Path) -> ShieldLimits:
    """Read limits from a JSON file.

    Raises:
        ConfigError: unknown settings or wrong values.
        DataError: the file is missing or not JSON.
    """
    try:
        return configs.load(ShieldLimits, path)
    except ConfigError as error:
        raise ConfigError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def limits_from_spec(spec: RobotSpec, *, ramp_s: float = RAMP_S) -> ShieldLimits:
    """Return limits that a spec implies: full speed as its action bounds say, reached in ``ramp_s``, no bounds.

    Raises:
        ConfigError: the actions are not deltas, so their bounds say nothing of speed; or the time is not above 0.
    """
    if not (math.isfinite(ramp_s) and ramp_s > 0):
        raise ConfigError(f"--ramp {ramp_s:g}: seconds from rest to full speed, above 0, are wanted.")
    if spec.kind != "delta":
        raise ConfigError(
            f"shield: limits cannot be derived from a robot whose actions are {spec.kind}; their bounds say nothing "
            "of speed. Write a file with its limits (docs/safety.md) and name it."
        )
    free = [number for number, binary in enumerate(spec.binary_mask) if not binary]
    velocity = tuple(min(abs(spec.low[number]), abs(spec.high[number])) * spec.hz for number in free)
    return ShieldLimits(
        axes=tuple(spec.action[number] for number in free),
        units=tuple(spec.action_units[number] for number in free),
        velocity=velocity,
        acceleration=tuple(value / ramp_s for value in velocity),
    )

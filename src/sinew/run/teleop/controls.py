"""Turns a person's pushes into actions of whatever robot it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.types import NumpyObservation, RobotSpec
from sinew.data.recorder import within

Word = Literal["go", "success", "failure", "discard", "again", "end"]
"""What a person can say: start, stop or keep; how it went; away with it; the same once more; that is all."""
WORDS: tuple[Word, ...] = ("go", "success", "failure", "discard", "again", "end")
SPEEDS = (0.25, 0.5, 1.0)
"""Share of the largest action that a full push means."""
SWEEP_S = 4.0
"""How long a full push takes from one bound of an absolute action to the other [s]."""


@dataclass(frozen=True)
class Wish:
    """What a person wants in one tick.

    Attributes:
        action: (A,) physical units, None for staying still.
        words: said in this tick.
    """

    action: NDArray[np.float32] | None = None
    words: tuple[Word, ...] = ()


class Controls:
    """Pushes and switches of a robot: a push for each of its graded actions, a switch for each two-valued one.

    Deltas follow the push. Absolute actions begin at the state value of the same name and move with the push.

    Args:
        spec: the robot.

    Attributes:
        pushed: names of the graded actions, in order. switched: names of the two-valued ones.
        speed: share of the largest action that a full push means.

    Raises:
        ConfigError: the robot's actions cannot be pushed.
    """

    def __init__(self, spec: RobotSpec) -> None:
        missing = [name for name in spec.action if name not in (*spec.state, *spec.binary)]
        if spec.kind == "waypoint" or (spec.kind == "absolute" and missing):
            raise ConfigError(
                f"{spec.embodiment}: {spec.kind} actions ({', '.join(missing)}) cannot be driven by keys or sticks: "
                "deltas can, or absolute values whose names stand among the state's. Give a function: "
                "--teleop module:function"
            )
        self.spec = spec
        self.low, self.high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
        mask = spec.binary_mask
        self.pushed = tuple(name for name, binary in zip(spec.action, mask, strict=True) if not binary)
        self.switched = tuple(name for name, binary in zip(spec.action, mask, strict=True) if binary)
        self.speed = SPEEDS[1]
        self._switches: dict[str, float] = {}
        self._points = np.zeros(spec.action_size, np.float32)

    def reset(self, obs: NumpyObservation) -> None:
        """Begin where the robot is now; two-valued actions that its state does not tell are open, or low."""
        state = dict(zip(self.spec.state, obs.state[0, -1], strict=True))
        opened = self.high if self.spec.gripper_sign > 0 else self.low
        now = [state.get(name, opened[index]) for index, name in enumerate(self.spec.action)]
        self._points = within(self.spec, np.array(now, np.float32))
        self._switches = {name: float(self._points[self.spec.action.index(name)]) for name in self.switched}

    def switch(self, number: int) -> None:
        """Turn a two-valued action over; one that there is not is left alone."""
        if number < len(self.switched):
            name = self.switched[number]
            index = self.spec.action.index(name)
            self._switches[name] = float(self.low[index] + self.high[index]) - self._switches[name]

    def action(self, pushes: Sequence[float]) -> NDArray[np.float32]:
        """Return the action (A,) of these pushes, -1 .. 1 each; missing ones are 0."""
        wanted = np.zeros(self.spec.action_size, np.float32)
        for name, push in zip(self.pushed, pushes, strict=False):
            wanted[self.spec.action.index(name)] = np.clip(push, -1.0, 1.0)
        if self.spec.kind == "absolute":
            action = self._moved(wanted)
        else:
            action = np.where(wanted > 0, wanted * self.high, -wanted * self.low) * self.speed
        for name, value in self._switches.items():
            action[self.spec.action.index(name)] = value
        return np.clip(action, self.low, self.high).astype(np.float32)

    def _moved(self, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
        step = wanted * self.speed * (self.high - self.low) / (SWEEP_S * self.spec.hz)
        self._points = np.clip(self._points + step, self.low, self.high).astype(np.float32)
        return self._points.copy()

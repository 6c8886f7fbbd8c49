"""One recorded episode and what makes it valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec

TOLERANCE = 1e-3
"""How far a label may lie outside its bounds, as a share of their range."""


@dataclass(frozen=True)
class Episode:
    """What one robot saw and did from start to end, T frames, physical units.

    Attributes:
        spec: the robot.
        images: by camera, (T, 3, h, w) uint8 RGB.
        state: (T, S) float32.
        action: (T, A) float32, the labels: what should be done.
        executed: (T, A) float32, what was sent to the robot; differs under noise or a learner.
        instruction: the sentence, "" when none was given.
        task: name of the task, for tables.
        success: the instruction was fulfilled.
        targets: auxiliary labels by name, (T, k) float32; NaN where a frame has none.
        label_horizon: how many steps from a frame on the labels are good for: 1 says that only the
            frame's own label is, because the next ones belong to states that following the labels
            would not have reached; None means to the end of the episode.
        source: name of the data set it belongs to.
        id: state id it began at; unique within a source.
        held_out: kept for validation.
        sensors: by name, (T, ...) of the shape and type that the spec says; NaN where a float has no reading.
        reward: (T,) float32 for each step taken, None where none was recorded.
        terminated: the episode ended by itself, so that nothing comes after; False: it was cut.
        final_state: (S,) float32 after the last action, None where it was not recorded.
    """

    spec: RobotSpec
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    executed: NDArray[np.float32]
    instruction: str
    task: str
    success: bool
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    label_horizon: int | None = None
    source: str = ""
    id: str = ""
    held_out: bool = False
    sensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    reward: NDArray[np.float32] | None = None
    terminated: bool = False
    final_state: NDArray[np.float32] | None = None

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.state)

    def check(self) -> None:
        """Refuse an episode that does not fit its spec.

        Raises:
            DataError: names episode, field and, for values, the first bad frame. Checked are names, shapes
                and types of all columns, NaN and infinity in state, action, executed and reward, and labels
                outside their bounds or, for two-valued actions, between them.
        """
        if self.num_frames == 0:
            raise self._error("state", "has no frames. Leave empty episodes out.")
        if self.label_horizon is not None and self.label_horizon < 1:
            raise self._error("label_horizon", f"is {self.label_horizon}, at least 1 or None is needed.")
        if set(self.images) != set(self.spec.cameras):
            raise self._error(
                "images", f"has cameras {sorted(self.images)}, the spec says {sorted(self.spec.cameras)}."
            )
        for name, camera in self.spec.cameras.items():
            self._check_array(f"images.{name}", self.images[name], (3, camera.height, camera.width), np.uint8)
        self._check_array("state", self.state, (self.spec.state_size,), np.float32)
        self._check_array("action", self.action, (self.spec.action_size,), np.float32)
        self._check_array("executed", self.executed, (self.spec.action_size,), np.float32)
        for name, target in self.targets.items():
            self._check_array(f"targets.{name}", target, target.shape[1:], np.float32)
            if target.ndim != 2:
                raise self._error(f"targets.{name}", f"has shape {target.shape}, (frames, values) is needed.")
        self._check_further()
        self._check_finite("state", self.state, self.spec.state)
        self._check_finite("action", self.action, self.spec.action)
        self._check_finite("executed", self.executed, self.spec.action)
        self._check_labels()

    def _check_further(self) -> None:
        """Check what only some data sets have: sensors, rewards, the state after the last action."""
        if set(self.sensors) != set(self.spec.sensors):
            raise self._error(
                "sensors", f"has {sorted(self.sensors)}, the spec says {sorted(self.spec.sensors)}. Correct the spec."
            )
        for name, sensor in self.spec.sensors.items():
            self._check_array(f"sensors.{name}", self.sensors[name], tuple(sensor.shape), np.dtype(sensor.dtype))
        if self.reward is not None:
            self._check_array("reward", self.reward, (), np.float32)
            self._check_finite("reward", self.reward[:, None])
        if self.final_state is not None:
            self._check_shape("final_state", self.final_state, (self.spec.state_size,), np.float32)
            if not np.isfinite(self.final_state).all():
                raise self._error("final_state", f"is {self.final_state}; leave it out where it is not known.")

    def _check_array(self, name: str, array: NDArray[Any], shape: tuple[int, ...], kind: DTypeLike) -> None:
        self._check_shape(name, array, (self.num_frames, *shape), kind)

    def _check_shape(self, name: str, array: NDArray[Any], wanted: tuple[int, ...], kind: DTypeLike) -> None:
        if array.shape != wanted:
            raise self._error(name, f"has shape {array.shape}, the spec and {self.num_frames} frames need {wanted}.")
        if array.dtype != kind:
            raise self._error(name, f"is {array.dtype}, {np.dtype(kind)} is needed.")

    def _check_finite(self, name: str, array: NDArray[np.float32], parts: tuple[str, ...] = ()) -> None:
        bad = ~np.isfinite(array)
        if bad.any():
            frame, value = np.argwhere(bad)[0]
            part = f"{name}.{parts[value]}" if parts else name
            raise self._error(part, f"is {array[frame, value]}; leave such episodes out.", int(frame))

    def _check_labels(self) -> None:
        low, high = np.asarray(self.spec.low), np.asarray(self.spec.high)
        slack = TOLERANCE * (high - low)
        bad = (self.action < low - slack) | (self.action > high + slack)
        between = (self.action > low + slack) & (self.action < high - slack)
        bad |= between & np.asarray(self.spec.binary_mask)
        if bad.any():
            frame, value = np.argwhere(bad)[0]
            word = "or" if self.spec.binary_mask[value] else "to"
            raise self._error(
                f"action.{self.spec.action[value]}",
                f"is {self.action[frame, value]:g}, the spec allows {low[value]:g} {word} {high[value]:g}. "
                "Clip the labels, or correct the spec.",
                int(frame),
            )

    def _error(self, name: str, problem: str, frame: int | None = None) -> DataError:
        where = f"episode {self.id or '?'}" + (f", frame {frame}" if frame is not None else "")
        return DataError(f"{where}: {name} {problem}")

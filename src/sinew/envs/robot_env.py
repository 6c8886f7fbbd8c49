"""A robot as a world with one row, so that whatever runs in worlds runs on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import NumpyObservation, RobotSpec, Rows, StepResult
from sinew.envs.rate import Clock, Rate
from sinew.envs.robot import FrameWatch, Reading, RobotIO


class RobotEnv:
    """A robot behind the methods of ``VecEnv``, kept at the rate of its spec.

    There is one row. A step sends the action, waits for the next tick and reads. An episode is truncated when it
    is too long, a camera is frozen, or someone asks for an emergency stop; then, and when the driver fails, the robot's
    own ``stop`` is called. What a policy does in between is not limited here: put ``ShieldedPolicy`` around it, and
    where a policy may be late or die use ``deploy.controller.Controller`` instead.

    Args:
        robot: what moves, and what it is told.
        max_ticks: longest episode.
        stale_ticks: repeats of a frame that count as a frozen camera; 0 never looks.
        clock: tells the time; the machine's by default.
    """

    num_envs = 1
    tasks = ("robot",)
    splits = ("train", "seen")
    target_names = ()

    def __init__(
        self, robot: RobotIO, *, max_ticks: int = 1000, stale_ticks: int = 2, clock: Clock | None = None
    ) -> None:
        self.robot, self.max_ticks, self.stale_ticks = robot, max_ticks, stale_ticks
        self.rate = Rate(robot.spec.hz, clock)
        self.watch = FrameWatch(stale_ticks)
        self.ticks = 0

    @property
    def spec(self) -> RobotSpec:
        """The robot."""
        return self.robot.spec

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        """Return ids for episodes; where they begin is up to whoever sets the robot up."""
        return tuple(f"{split}/{task}/{number}" for number in range(start, start + count))

    def variant(self, state_id: str, name: str) -> str | None:
        """Return None: a robot's surroundings cannot be had a second time."""
        return None

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        """Reset the robot, where it can, and return what it sees.

        Raises:
            DataError: more than one episode was asked for.
            RobotError: its driver failed.
        """
        if len(state_ids) != 1:
            raise DataError(f"{len(state_ids)} episodes at a time; a robot has one body. Run one after another.")
        self.robot.reset()
        self.watch, self.ticks = FrameWatch(self.stale_ticks), 0
        self.rate.start()
        self.rate.wait()
        reading = self._read()
        self.watch.frozen(reading.stamps)
        return reading.obs

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        """Send the action (1, A), physical units, and return what is seen a tick later.

        Raises:
            DataError: wrong shape, or a value that is not finite; nothing was sent.
            RobotError: its driver failed; its ``stop`` was called.
        """
        if actions.shape != (1, self.spec.action_size) or not np.isfinite(actions).all():
            self.robot.stop()
            raise DataError(
                f"{self.spec.embodiment}: actions {actions.tolist()}; one row of {self.spec.action_size} finite values "
                f"is wanted ({', '.join(self.spec.action)}). The robot was stopped."
            )
        halted = False
        try:
            self.robot.send(actions[0])
            self.rate.wait()
            reading = self._read()
            self.ticks += 1
            note = self._note(reading)
            halted = True
        finally:
            if not halted:
                self.robot.stop()
        success = np.array([reading.success])
        terminated = np.array([reading.success or reading.over])
        truncated = np.array([bool(note)]) & ~terminated
        if truncated[0]:
            self.robot.stop()
        return StepResult(reading.obs, success.astype(np.float32), terminated, truncated, success, (note,))

    def get_state(self, rows: Rows = None) -> tuple[bytes, ...]:
        """Refuse.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.spec.embodiment}: a robot's surroundings cannot be kept. Use a simulated world.")

    def set_state(self, states: Sequence[bytes], rows: Rows = None) -> NumpyObservation:
        """Refuse.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.spec.embodiment}: a robot's surroundings cannot be put back. Use a simulated world.")

    def picture(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return the first camera's last frame, nearest pixels, (size, size, 3) RGB."""
        frame = next(iter(self.last.obs.images.values()))[0, -1].transpose(1, 2, 0)
        down, across = (np.arange(size) * length // size for length in frame.shape[:2])
        return np.ascontiguousarray(frame[down][:, across])

    def project(self, row: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where points (K, 2 or 3) [m] lie in ``picture``, (K, 2) in 0 .. 1.

        Raises:
            DataError: the first camera is not calibrated.
        """
        name, camera = next(iter(self.spec.cameras.items()))
        if camera.intrinsics is None or camera.pose is None:
            raise DataError(f"camera {name} has no intrinsics and pose, so points cannot be shown in its picture.")
        full = np.zeros((len(points), 4))
        full[:, : points.shape[1]], full[:, 3] = points, 1.0
        seen = full @ np.linalg.inv(np.reshape(camera.pose, (4, 4))).T  # the pose leads from camera to robot
        fx, fy, cx, cy = camera.intrinsics
        across = (fx * seen[:, 0] / seen[:, 2] + cx) / camera.width
        down = (fy * seen[:, 1] / seen[:, 2] + cy) / camera.height
        return np.stack([across, down], axis=1).astype(np.float32)

    def _read(self) -> Reading:
        self.last = self.robot.read()
        return self.last

    def _note(self, reading: Reading) -> str:
        """Return why the episode cannot go on, or ""."""
        frozen = self.watch.frozen(reading.stamps)
        if reading.success or reading.over:
            return "done" if reading.success else "over"
        if self.robot.estop():
            return "emergency stop"
        if frozen:
            return f"frozen: {', '.join(frozen)}"
        return "out of time" if self.ticks >= self.max_ticks else ""

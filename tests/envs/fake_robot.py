"""A robot on a line, a clock that tests move, and a worker that uses it instead of a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import CameraSpec, RobotSpec

Q = TypeVar("Q")
A = TypeVar("A")

SPEC = RobotSpec(
    embodiment="slider",
    cameras={"front": CameraSpec(4, 6)},
    state=("x", "gripper"),
    state_units=("m", "1"),
    action=("dx", "gripper"),
    action_units=("m", "1"),
    low=(-0.05, 0.0),
    high=(0.05, 1.0),
    hz=10.0,
    kind="delta",
    binary=("gripper",),
)


class FakeClock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.time += seconds


class Inline(Generic[Q, A]):
    """A worker that computes at once and hands the answer out when the clock says that it is ready."""

    def __init__(
        self, function: Callable[[Q], A], clock: FakeClock, delay_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.function, self.clock, self.delay_s = function, clock, delay_s
        self.busy, self.closed = False, False
        self.ready = 0.0

    def ask(self, question: Q) -> None:
        """Take a question."""
        assert not self.busy
        self.busy, self.result = True, self.function(question)
        self.ready = self.clock.now() + self.delay_s()

    def answer(self, timeout_s: float) -> A | None:
        """Let time pass until the answer is ready, or until the timeout."""
        if self.ready > self.clock.now() + timeout_s:
            self.clock.time += max(timeout_s, 0.0)
            return None
        self.clock.time = max(self.clock.time, self.ready)
        self.busy = False
        return self.result

    def close(self) -> None:
        """Remember."""
        self.closed = True


class Slider:
    """The seeds' three methods: a point that goes where it is told, and a camera that counts."""

    def __init__(self) -> None:
        self.x, self.gripper, self.frame = 0.0, 0.0, 0
        self.commands: list[NDArray[np.float32]] = []
        self.stops, self.resets = 0, 0

    def get_camera_image(self) -> NDArray[np.uint8]:
        """Return a frame that differs from the last."""
        self.frame += 1
        return np.full((4, 6, 3), self.frame % 256, dtype=np.uint8)

    def get_state(self) -> list[float]:
        """Return x and the gripper."""
        return [self.x, self.gripper]

    def execute_action(self, action: NDArray[np.float32]) -> None:
        """Move."""
        self.commands.append(action.copy())
        self.x += float(action[0])
        self.gripper = float(action[1])

    def stop(self) -> None:
        """Count."""
        self.stops += 1

    def reset(self) -> None:
        """Count."""
        self.resets += 1


class Stepping:
    """The seeds' other two methods around a slider."""

    def __init__(self) -> None:
        self.slider = Slider()

    def get_observation(self) -> dict[str, Any]:
        """Return a dict."""
        return {"image": self.slider.get_camera_image(), "state": self.slider.get_state(), "instruction": "go"}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, dict[str, bool]]:
        """Move; done beyond 0.1 m."""
        self.slider.execute_action(action)
        done = self.slider.x > 0.1
        return self.get_observation(), float(done), done, {"success": done}

"""A tiny world for tests: a point on a line is told "go left" or "go right" and honks when it is there."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec, Rows, StepResult

STEP = 0.25
GOALS = {"left": -1.0, "right": 1.0}
OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the line world; implements ``EnvConfig``.

    Attributes:
        size: height and width of the image [px].
        max_ticks: length after which an episode is truncated.
        stuck: every n-th initial state cannot move and so never succeeds; 0 for none.
    """

    kind: str = "toy"
    size: int = 8
    max_ticks: int = 12
    stuck: int = 0

    def build(self, num_envs: int) -> ToyVecEnv:
        """Return the world with that many rows."""
        return ToyVecEnv(self, num_envs)

    def expert(self) -> ToyExpert:
        """Return the stateless expert."""
        return ToyExpert(self)

    @property
    def spec(self) -> RobotSpec:
        """The robot of the line: it moves by at most ``STEP`` and honks."""
        return RobotSpec(
            embodiment="toy",
            cameras={"front": CameraSpec(self.size, self.size)},
            state=("position", "last_move"),
            state_units=("m", "m"),
            action=("move", "honk"),
            action_units=("m", "1"),
            low=(-STEP, 0.0),
            high=(STEP, 1.0),
            hz=10.0,
            kind="delta",
            binary=("honk",),
        )


class ToyExpert:
    """Moves towards ``privileged["goal"]`` and honks there; remembers nothing."""

    def __init__(self, config: ToyConfig) -> None:
        self.spec = config.spec

    def reset(self, rows: Rows = None) -> None:
        """Nothing to forget."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return (B, 2) clean actions."""
        gap = obs.privileged["goal"][:, 0] - obs.state[:, -1, 0]
        move = np.clip(gap, -STEP, STEP)
        return np.stack([move, np.abs(gap) < STEP], axis=1).astype(np.float32)


class ToyVecEnv:
    """Several points on the line between -1.5 and 1.5 [m]; succeeds when one honks within 0.1 m of its goal.

    State ids read ``split/task/number``, with ``~wrong`` / ``~other`` / ``~silent`` appended for variants.
    """

    tasks = ("left", "right")
    splits = ("train", "seen")
    target_names = ("goal",)

    def __init__(self, config: ToyConfig, num_envs: int) -> None:
        self.config, self.spec, self.num_envs = config, config.spec, num_envs
        self.ids = [""] * num_envs
        self.instruction = [""] * num_envs
        self.position, self.last_move, self.goal = np.zeros(num_envs), np.zeros(num_envs), np.zeros(num_envs)
        self.aim = np.zeros(num_envs)
        self.speed = np.ones(num_envs)
        self.ticks = np.zeros(num_envs, dtype=np.int64)
        self.images = np.zeros((num_envs, 3, config.size, config.size), dtype=np.uint8)

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        """Return ids ``start .. start + count``."""
        return tuple(f"{split}/{task}/{number}" for number in range(start, start + count))

    def variant(self, state_id: str, name: str) -> str | None:
        """Return the same start under another instruction."""
        return f"{state_id}~{name}" if name in ("wrong", "other", "silent") else None

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        """Put points at the starts that the ids name."""
        index = self._rows(rows)
        for row, state_id in zip(index, state_ids, strict=True):
            base, _, variant = state_id.partition("~")
            _, task, number = base.split("/")
            named = OTHER[task] if variant in ("wrong", "other") else task
            judged = OTHER[task] if variant == "other" else task
            draw = int.from_bytes(hashlib.sha256(base.encode()).digest()[:4], "big") / 2**32
            self.ids[row] = state_id
            self.instruction[row] = "" if variant == "silent" else f"go {named}"
            self.position[row], self.last_move[row] = draw - 0.5, 0.0
            self.goal[row], self.aim[row] = GOALS[judged], GOALS[named]
            self.speed[row] = 0.0 if self.config.stuck and int(number) % self.config.stuck == 0 else 1.0
            self.ticks[row] = 0
        self._render(index)
        return self._observe(index)

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        """Move and honk for one tick."""
        index = self._rows(rows)
        move = np.clip(actions[:, 0], -STEP, STEP) * self.speed[index]
        self.position[index] = np.clip(self.position[index] + move, -1.5, 1.5)
        self.last_move[index] = move
        self.ticks[index] += 1
        honk = actions[:, 1] > 0.5
        success = honk & (np.abs(self.position[index] - self.goal[index]) < 0.1)
        truncated = ~success & (self.ticks[index] >= self.config.max_ticks)
        if render:
            self._render(index)
        note = tuple(
            "arrived" if won else "out of time" if late else "" for won, late in zip(success, truncated, strict=True)
        )
        reward = success.astype(np.float32)
        return StepResult(self._observe(index), reward, success.copy(), truncated, success, note)

    def get_state(self, rows: Rows = None) -> tuple[bytes, ...]:
        """Return 48 bytes of numbers and then the instruction of each row."""
        return tuple(
            struct.pack(
                "<5dq",
                self.position[row],
                self.last_move[row],
                self.goal[row],
                self.aim[row],
                self.speed[row],
                self.ticks[row],
            )
            + self.instruction[row].encode()
            for row in self._rows(rows)
        )

    def set_state(self, states: Sequence[bytes], rows: Rows = None) -> NumpyObservation:
        """Restore snapshots."""
        index = self._rows(rows)
        for row, state in zip(index, states, strict=True):
            values = struct.unpack("<5dq", state[:48])
            self.position[row], self.last_move[row], self.goal[row], self.aim[row], self.speed[row] = values[:5]
            self.ticks[row] = values[5]
            self.instruction[row] = state[48:].decode()
        self._render(index)
        return self._observe(index)

    def picture(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return the view enlarged."""
        index = np.arange(size) * self.config.size // size
        return np.ascontiguousarray(self.images[row].transpose(1, 2, 0)[index][:, index])

    def project(self, row: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where points of the line lie in the picture, in 0 .. 1."""
        return np.stack([(points[:, 0] + 1.5) / 3.0, np.full(len(points), 0.5)], axis=1).astype(np.float32)

    def _rows(self, rows: Rows) -> NDArray[np.int64]:
        return np.arange(self.num_envs) if rows is None else np.asarray(rows, dtype=np.int64)

    def _render(self, index: NDArray[np.int64]) -> None:
        column = ((self.position[index] + 1.5) / 3.0 * (self.config.size - 1)).round().astype(np.int64)
        self.images[index] = 20
        self.images[index, 0, :, column] = 250
        self.images[index, 1, 0, 0] = self.ticks[index]

    def _observe(self, index: NDArray[np.int64]) -> NumpyObservation:
        state = np.stack([self.position[index], self.last_move[index]], axis=1).astype(np.float32)
        return NumpyObservation(
            images={"front": self.images[index][:, None]},
            state=state[:, None],
            instruction=tuple(self.instruction[row] for row in index),
            privileged={"goal": self.aim[index][:, None].astype(np.float32)},
        )

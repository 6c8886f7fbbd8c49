"""A contextual bandit with a known optimum: one action, paid by how near it comes to a curve over the state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec, Rows, StepResult

SPEC = RobotSpec(
    embodiment="bandit",
    cameras={"front": CameraSpec(8, 8)},
    state=("a", "b"),
    state_units=("1", "1"),
    action=("x", "y"),
    action_units=("1", "1"),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    hz=1.0,
    kind="absolute",
)
WEIGHTS = np.array([[1.2, -0.7], [0.5, 1.0]])


def best(state: NDArray[Any]) -> NDArray[np.float64]:
    """Return the actions (B, 2) with the largest reward, which is 0."""
    return 0.8 * np.tanh(state @ WEIGHTS)


@dataclass(frozen=True)
class BanditConfig:
    """Settings of the bandit; implements the part of ``EnvConfig`` that rollouts need."""

    kind: str = "bandit"

    def build(self, num_envs: int) -> BanditVecEnv:
        return BanditVecEnv(num_envs)


class BanditVecEnv:
    """Rows of the bandit; the state follows from the id."""

    tasks = ("match",)
    splits = ("train", "seen")
    spec = SPEC

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.state = np.zeros((num_envs, 2))

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        return tuple(f"{split}/{task}/{number}" for number in range(start, start + count))

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        index = np.arange(len(state_ids)) if rows is None else np.asarray(rows)
        for row, name in zip(index, state_ids, strict=True):
            draws = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
            self.state[row] = draws.uniform(-1, 1, 2)
        return self._observe(index)

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        index = np.arange(len(actions)) if rows is None else np.asarray(rows)
        reward = -np.square(actions - best(self.state[index])).sum(axis=1)
        ended = np.ones(len(index), dtype=np.bool_)
        note = ("paid",) * len(index)
        return StepResult(self._observe(index), reward.astype(np.float32), ended, ~ended, ended, note)

    def _observe(self, index: NDArray[np.int64]) -> NumpyObservation:
        images = {"front": np.zeros((len(index), 1, 3, 8, 8), dtype=np.uint8)}
        return NumpyObservation(images, self.state[index, None].astype(np.float32), ("match",) * len(index))

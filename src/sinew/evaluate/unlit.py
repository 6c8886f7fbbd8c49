"""Runs a world without drawing, for those who do not look; drawing is most of the time of an episode."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import Rows, StepResult, VecEnv


def unlit(env: VecEnv) -> VecEnv:
    """Return the same world whose images stay those of the episode's start; nothing else differs."""
    return cast("VecEnv", _Unlit(env))


class _Unlit:
    def __init__(self, env: VecEnv) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (everything but step is the world's own)
        return getattr(self._env, name)

    def step(self, actions: NDArray[np.float32], rows: Rows = None) -> StepResult:
        return self._env.step(actions, rows, render=False)

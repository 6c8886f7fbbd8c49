"""A policy for the slider that needs numpy only, so that a process with it starts fast."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from envs.fake_robot import SPEC
from sinew.core.errors import CheckpointError
from sinew.core.types import NumpyObservation, RobotSpec, Rows


class SliderPolicy:
    """Goes forward by 1 cm a tick; words in the instruction make it misbehave."""

    spec: RobotSpec = SPEC

    def __init__(self) -> None:
        self.resets = 0

    def reset(self, rows: Rows = None) -> None:
        """Count."""
        self.resets += 1

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return 1 cm and how often it was reset."""
        word = obs.instruction[0]
        if word == "fail":
            raise ValueError("wrong shape")
        if word == "die":
            os._exit(3)
        if word == "sleep":
            time.sleep(0.3)
        return np.array([[0.01, self.resets]], dtype=np.float32)


def missing() -> SliderPolicy:
    """Fail as a loader does."""
    raise CheckpointError("nowhere: no such directory.")

"""A policy is not asked to act on what is not its robot's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sinew.core.errors import DataError, SpecError
from sinew.core.observed import check_observation
from sinew.core.types import NumpyObservation
from toy import ToyConfig

SPEC = ToyConfig(size=4).spec
GOOD = NumpyObservation({"front": np.zeros((2, 1, 3, 4, 4), np.uint8)}, np.zeros((2, 1, 2), np.float32), ("go", ""))


def test_an_observation_of_the_robot_passes() -> None:
    check_observation(SPEC, GOOD)
    check_observation(SPEC, GOOD.map(lambda array: np.repeat(array, 3, axis=1)), ticks=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": {}}, "no image of camera front"),
        ({"images": {"front": np.zeros((2, 1, 3, 4, 5), np.uint8)}}, "4 x 4 pixels"),
        ({"images": {"front": np.zeros((2, 1, 3, 4, 4), np.float32)}}, "float32 images"),
        ({"state": np.zeros((2, 1, 3), np.float32)}, r"position \[m\], last_move \[m\]"),
        ({"instruction": ("go",)}, "rows"),
    ],
)
def test_another_robots_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_observation(SPEC, dataclasses.replace(GOOD, **change))


def test_a_robot_that_feels_nothing_is_seen() -> None:
    blind = dataclasses.replace(SPEC, state=(), state_units=())
    check_observation(blind, dataclasses.replace(GOOD, state=np.zeros((2, 1, 0), np.float32)))


def test_a_state_that_is_not_finite_is_named() -> None:
    state = GOOD.state.copy()
    state[1, 0, 0] = np.inf
    with pytest.raises(DataError, match="position is NaN or infinite"):
        check_observation(SPEC, dataclasses.replace(GOOD, state=state))

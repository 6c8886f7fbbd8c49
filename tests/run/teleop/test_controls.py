"""Pushes and switches become actions of any robot whose actions can be pushed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.fake_robot import SPEC
from sinew.core.errors import ConfigError
from sinew.core.types import NumpyObservation, Observation
from sinew.run.teleop.controls import SPEEDS, SWEEP_S, Controls

JOINTS = dataclasses.replace(
    SPEC, state=("a", "b"), action=("a", "b"), low=(-2.0, -1.0), high=(2.0, 1.0), kind="absolute", binary=()
)


def seen(*state: float) -> NumpyObservation:
    """Return what a robot in this state sees."""
    return Observation(images={}, state=np.array([[state]], np.float32), instruction=("go",))


def test_deltas_follow_the_push_up_to_their_bounds() -> None:
    controls = Controls(dataclasses.replace(SPEC, low=(-0.1, 0.0)))
    controls.reset(seen(0.0, 0.0))
    assert controls.action([1.0])[0] == pytest.approx(0.05 * controls.speed)
    assert controls.action([-0.5])[0] == pytest.approx(-0.1 * 0.5 * controls.speed)
    controls.speed = SPEEDS[-1]
    assert controls.action([7.0, 1.0]).tolist() == pytest.approx([0.05, 0.0])
    assert controls.action([])[0] == 0.0


def test_a_switch_turns_over_and_begins_as_the_robot_is() -> None:
    controls = Controls(SPEC)
    controls.reset(seen(0.0, 0.9))
    assert controls.action([])[1] == 1.0
    controls.switch(0)
    controls.switch(1)  # there is none
    assert controls.action([])[1] == 0.0
    blind = Controls(dataclasses.replace(SPEC, state=("x",), state_units=("m",), gripper_sign=1))
    blind.reset(seen(0.0))
    assert blind.action([])[1] == 1.0  # open


def test_absolute_actions_begin_at_the_state_and_move() -> None:
    controls = Controls(JOINTS)
    controls.speed = 1.0
    controls.reset(seen(0.5, -9.0))
    assert controls.action([]).tolist() == [0.5, -1.0]
    step = 4.0 / (SWEEP_S * JOINTS.hz)
    assert controls.action([1.0])[0] == pytest.approx(0.5 + step)
    assert controls.action([1.0])[0] == pytest.approx(0.5 + 2 * step)
    for _ in range(60):
        last = controls.action([-1.0, 1.0])
    assert last.tolist() == [-2.0, 1.0]


@pytest.mark.parametrize("changes", [{"kind": "waypoint"}, {"state": ("x", "y")}])
def test_actions_that_cannot_be_pushed_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="--teleop module:function"):
        Controls(dataclasses.replace(JOINTS, **changes))

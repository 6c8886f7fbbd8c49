"""Standing still where there are no limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from safety.arm import arm_spec, gripper_spec
from sinew.core.errors import SpecError
from sinew.core.types import ActionKind
from sinew.safety.hold import Hold

STATE = np.zeros((1, 7), dtype=np.float32)
STALE = np.array([True])


def test_finite_actions_pass_as_they_are() -> None:
    hold = Hold(arm_spec("absolute"))
    wanted = np.linspace(-9, 9, 7)[None]
    np.testing.assert_allclose(hold.filter(wanted, STATE), wanted, rtol=1e-6)
    assert hold.interventions() == {}


@pytest.mark.parametrize(("kind", "still"), [("absolute", 0.3), ("delta", 0.0), ("relative", 0.0)])
def test_what_stands_still_depends_on_the_kind_of_action(kind: ActionKind, still: float) -> None:
    hold = Hold(arm_spec(kind))
    hold.filter(np.full((1, 7), 0.3), STATE)
    assert not hold.at_rest()
    for sent in (
        hold.filter(np.full((1, 7), np.nan), STATE),
        hold.filter(np.full((1, 7), 0.5), STATE, stale=STALE),
        hold.filter(np.full((1, 7), 0.5), STATE * np.nan),
        hold.brake(STATE),
    ):
        np.testing.assert_allclose(sent, still, rtol=1e-6)
        assert hold.at_rest()
    assert hold.interventions() == {"stale": 2, "not finite": 2}


def test_a_gripper_keeps_its_value() -> None:
    hold = Hold(gripper_spec())
    wanted = np.full((1, 8), 0.1)
    wanted[0, 3] = 1.0
    hold.filter(wanted, STATE)
    sent = hold.brake(STATE)[0]
    assert sent[3] == 1.0
    assert (np.delete(sent, 3) == 0).all()


def test_before_the_first_set_point_there_is_nothing_to_hold() -> None:
    assert np.isnan(Hold(arm_spec("absolute")).brake(STATE)).all()


def test_waypoints_cannot_stand_still() -> None:
    with pytest.raises(SpecError, match="none of them means to stand still"):
        Hold(dataclasses.replace(arm_spec(), kind="waypoint"))

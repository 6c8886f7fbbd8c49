from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sinew.core.actions import convert_actions, matches
from sinew.core.errors import SpecError
from sinew.core.types import RobotSpec

SPEC = RobotSpec(
    embodiment="arm",
    cameras={},
    state=("grip", "y", "x", "force"),
    state_units=("1", "m", "m", "N"),
    action=("x", "y", "grip"),
    action_units=("m", "m", "1"),
    low=(-1.0, -1.0, 0.0),
    high=(1.0, 1.0, 1.0),
    hz=10.0,
    kind="absolute",
    binary=("grip",),
)
PAIRS = {0: 2, 1: 1}


def test_values_of_the_same_name_and_unit_add_but_two_valued_ones() -> None:
    assert matches(SPEC) == PAIRS
    assert matches(dataclasses.replace(SPEC, action_units=("m", "mm", "1"))) == {0: 2}
    assert matches(SPEC, {"y": "x"}) == {1: 2}


@pytest.mark.parametrize(
    ("changes", "named", "words"),
    [
        ({"rotation": "euler"}, None, r"holds orientations \(euler\)"),
        ({"action": ("u", "v", "grip")}, None, "no action has no state"),
        ({}, {"x": "z"}, "z has no state"),
        ({}, {"q": "x"}, "q has no state"),
    ],
)
def test_what_cannot_be_known_is_not_guessed(changes: dict[str, Any], named: dict[str, str] | None, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        matches(dataclasses.replace(SPEC, **changes), named)


def test_orientations_may_be_left_out_by_name() -> None:
    assert matches(dataclasses.replace(SPEC, rotation="euler"), {"x": "x", "y": "y"}) == PAIRS


def test_worked_numbers() -> None:
    states = np.array([[0, 5, 1, 9], [0, 6, 3, 9]], np.float32)  # y 5, 6 and x 1, 3
    absolute = np.array([[2, 7, 1], [4, 9, 0]], np.float32)
    delta = convert_actions(absolute, states, PAIRS, kind="absolute", to="delta")
    relative = convert_actions(absolute, states, PAIRS, kind="absolute", to="relative")
    assert delta.tolist() == [[1, 2, 1], [1, 3, 0]]
    assert relative.tolist() == [[1, 2, 1], [3, 4, 0]]
    assert convert_actions(delta, states, PAIRS, kind="delta", to="relative").tolist() == relative.tolist()
    assert absolute.tolist() == [[2, 7, 1], [4, 9, 0]]


@pytest.mark.parametrize("kind", ["absolute", "delta", "relative"])
@pytest.mark.parametrize("to", ["absolute", "delta", "relative"])
def test_there_and_back_is_the_same_to_the_last_bit(kind: Any, to: Any) -> None:  # noqa: ANN401
    rng = np.random.default_rng(0)
    states = (rng.normal(size=(500, 8, 4)) * 10.0 ** rng.uniform(-3, 1, (500, 8, 4))).astype(np.float32)
    actions = (rng.normal(size=(500, 8, 3)) * 10.0 ** rng.uniform(-3, 1, (500, 8, 3))).astype(np.float32)
    there = convert_actions(actions, states, PAIRS, kind=kind, to=to)
    back = convert_actions(there, states, PAIRS, kind=to, to=kind)
    np.testing.assert_array_equal(back.astype(np.float32), actions)
    np.testing.assert_array_equal(there[..., 2], actions[..., 2])
    if kind != to:
        assert (there[..., :2] != actions[..., :2]).any()


def test_waypoints_are_refused() -> None:
    with pytest.raises(SpecError, match="does not say at which step"):
        convert_actions(np.zeros((1, 3)), np.zeros((1, 4), np.float32), PAIRS, kind="waypoint", to="delta")

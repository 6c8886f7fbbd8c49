from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from data.quality.healthy import SPEC, healthy, put
from sinew.data.quality import motion
from sinew.data.quality.examine import faults

DELTA = dataclasses.replace(SPEC, kind="delta", low=(-0.1, -0.1, 0.0), high=(0.1, 0.1, 1.0))


def moved(frames: int = 40, **changes: Any) -> Any:  # noqa: ANN401
    """Return an episode of an arm that is told how far to move."""
    episode = healthy(0, frames)
    step = np.diff(episode.state[:, :2], axis=0, append=episode.state[-1:, :2])
    action = np.column_stack([np.clip(step, -0.1, 0.1), episode.state[:, 3]]).astype(np.float32)
    return healthy(0, frames, **{"spec": DELTA, "action": action, "executed": action, **changes})


@pytest.mark.parametrize("number", range(8))
def test_nothing_is_found_in_a_healthy_episode(number: int) -> None:
    assert faults(healthy(number)) == []
    assert faults(moved()) == []


@pytest.mark.parametrize(
    ("mask", "shortest", "found"),
    [([], 1, []), ([1, 1, 0, 1], 1, [(0, 1), (3, 3)]), ([0, 1, 1, 0, 1], 2, [(1, 2)]), ([1, 1], 3, [])],
)
def test_runs_are_found_with_their_ends(mask: list[int], shortest: int, found: list[tuple[int, int]]) -> None:
    assert motion.runs(np.array(mask, dtype=bool), shortest) == found


def test_nan_and_infinity_name_value_and_frames() -> None:
    episode = healthy(0)
    one = faults(healthy(0, state=put(episode.state, (slice(5, 8), 1), np.nan)))
    assert [(item.kind, item.severity, item.frames) for item in one] == [("nan", "error", (5, 7))]
    assert "state is not a number in elbow" in one[0].evidence
    other = faults(healthy(0, action=put(episode.action, (3, 0), np.inf)))
    assert ("nan", (3, 3)) in {(item.kind, item.frames) for item in other}
    reward = faults(healthy(0, reward=put(np.zeros(40, np.float32), 9, np.nan)))
    assert [(item.kind, item.frames) for item in reward] == [("nan", (9, 9))]


def test_many_runs_are_told_in_four_lines() -> None:
    found = faults(healthy(0, state=put(healthy(0).state, (slice(0, 40, 4), 0), np.nan)))
    assert [item.frames for item in found] == [(0, 0), (4, 4), (8, 8), (12, 36)]
    assert found[-1].evidence.endswith("7 more runs, 7 frames in all")


def test_labels_out_of_bounds_and_between_two_values_are_found() -> None:
    episode = healthy(0)
    (one,) = faults(healthy(0, action=put(episode.action, (slice(2, 4), 0), 90.0)))
    assert (one.kind, one.frames) == ("bounds", (2, 3))
    assert "action shoulder is 90, the spec allows -2 to 2" in one.evidence
    (two,) = faults(healthy(0, action=put(episode.action, (4, 2), 0.5)))
    assert "grip is 0.5, the spec allows 0 or 1" in two.evidence


def test_a_state_that_stands_while_the_actions_ask_for_movement_is_found() -> None:
    for episode in (healthy(0), moved()):
        state = episode.state.copy()
        state[10:30] = state[10]
        found = faults(dataclasses.replace(episode, state=state))
        assert [(item.kind, item.frames) for item in found] == [("frozen", (11, 29))]


def test_a_robot_that_waits_is_not_frozen() -> None:
    episode = moved(60)
    state, action = episode.state.copy(), episode.action.copy()
    state[20:40], action[20:40, :2] = state[20], 0.0
    assert faults(dataclasses.replace(episode, state=state, action=action)) == []


def test_one_value_that_stands_alone_is_measured() -> None:
    episode = healthy(0)
    state = put(episode.state, (slice(10, 30), 1), 0.25)
    shoulder, elbow, z, grip = motion.alone_still(healthy(0, state=state))
    assert (shoulder, elbow, z) == ((0, -1), (11, 29), (0, -1))
    assert grip == (17, 39)
    assert motion.alone_still(healthy(0, 1)) == ((0, -1),) * 4


@pytest.mark.parametrize("kind", ["absolute", "delta"])
def test_idle_ends_are_counted(kind: str) -> None:
    episode = healthy(0, 80) if kind == "absolute" else moved(80)
    state, action = episode.state.copy(), episode.action.copy()
    state[:15], state[60:] = state[15], state[59]
    action[:15], action[60:] = action[15], action[59]
    if kind == "delta":
        action[:15, :2] = action[60:, :2] = 0.0
    still = dataclasses.replace(episode, state=state, action=action)
    head, tail = motion.idle_ends(still)
    assert 15 <= head <= 17
    assert 20 <= tail <= 22
    found = list(motion.idle(still))
    assert [(item.kind, item.frames) for item in found] == [("idle", (0, head - 1)), ("idle", (80 - tail, 79))]
    assert f"first {head / 10:.1f} s" in found[0].evidence
    assert motion.idle_ends(episode)[0] < 5


def test_an_episode_in_which_nothing_moves_is_found_whole() -> None:
    episode = healthy(0)
    still = healthy(0, state=episode.state[:1].repeat(40, axis=0), action=episode.action[:1].repeat(40, axis=0))
    assert motion.idle_ends(still) == (40, 40)
    (found,) = motion.idle(still)
    assert found.frames == (0, 39)


def test_a_gripper_that_closes_ends_the_wait() -> None:
    episode = healthy(0)
    still = healthy(0, state=put(episode.state, slice(None), 0.3), action=put(episode.action, slice(None), 0.0))
    action = put(still.action, (slice(25, None), 2), 1.0)
    assert motion.idle_ends(dataclasses.replace(still, action=action)) == (25, 15)


def test_frames_that_come_late_or_back_in_time_are_found() -> None:
    even = np.arange(20) / 10
    assert list(motion.time_gaps(even, 10.0)) == []
    assert list(motion.time_gaps(even + 1e-3 * np.sin(np.arange(20)) + 1.7e9, 10.0)) == []
    (late,) = motion.time_gaps(even + 0.3 * (np.arange(20) >= 7), 10.0)
    assert (late.kind, late.severity, late.frames, late.point) == ("timestamps", "warning", (7, 7), True)
    assert "400 ms between frames 6 and 7 at most, 100 ms are said (10 Hz)" in late.evidence
    fast = even / 20 + 0.3 * (np.arange(20) >= 7)
    assert list(motion.time_gaps(fast, 10.0)) == []  # written by a program, not by a robot
    back = next(motion.time_gaps(put(even, 9, even[8]), 10.0))
    assert (back.severity, back.frames) == ("error", (9, 9))
    assert back.evidence == "time does not go on: 0.8 s, then 0.8 s"

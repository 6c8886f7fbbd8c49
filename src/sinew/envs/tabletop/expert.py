"""The scripted expert: acts on simulator truth, remembers nothing and is smooth in what it sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.robot import MAX_STEP, robot_spec
from sinew.envs.tabletop.scene import HAND_LOW, PAD_HALF

Array = NDArray[np.float64]

LOW = HAND_LOW[2]
GAIN = 0.7


class TabletopExpert:
    """A policy that reads ``Observation.privileged``; its wide funnels forgive errors of several millimetres.

    Only the gripper is switched; positions are continuous functions of the state. Heights are cones
    over the horizontal error; pushing blends "get behind the object" into "move it".
    """

    def __init__(self, config: TabletopConfig) -> None:
        self._spec = robot_spec(config)

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for."""
        return self._spec

    def reset(self, rows: Rows = None) -> None:
        """Do nothing: there is no memory."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, 4) for the truth in ``obs.privileged``."""
        truth = {name: np.asarray(value, dtype=np.float64) for name, value in obs.privileged.items()}
        skill = truth["skill"].astype(np.int64)
        actions = np.zeros((obs.num_rows, 4), dtype=np.float32)
        for number, act in enumerate((_touch, _lift, _place, _push)):
            chosen = skill == number
            if chosen.any():
                part = {name: value[chosen] for name, value in truth.items()}
                wanted, grip = act(part)
                step = GAIN * (wanted - part["setpoint"])
                longest = np.abs(step).max(axis=1, keepdims=True)
                actions[chosen, :3] = step * np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-9))
                actions[chosen, 3] = grip
        return actions


def _touch(truth: dict[str, Array]) -> tuple[Array, Array]:
    """Close the gripper and come down on the object from above."""
    target, top = truth["target"], truth["size"][:, 2]
    error = _distance(target, truth["hand"])
    height = target[:, 2] + top + 0.005 + _cone(error, 0.008, 1.5, 0.07)
    return np.column_stack([target[:, :2], height]), np.zeros(len(target))


def _lift(truth: dict[str, Array]) -> tuple[Array, Array]:
    """Come down around the object, close, go up."""
    target, hand = truth["target"], truth["hand"]
    held = _held(truth)
    height = _grasp_height(target) + _cone(_distance(target, hand), 0.009, 1.5, 0.075)
    height = np.where(held, 0.16, height)
    place = np.where(held[:, None], hand[:, :2], target[:, :2])
    return np.column_stack([place, height]), _open_unless(_around(truth) | held)


def _place(truth: dict[str, Array]) -> tuple[Array, Array]:
    """Lift, carry over the zone, come down, let go and go up."""
    target, hand, goal, half = truth["target"], truth["hand"], truth["goal"], truth["size"][:, 1]
    held = _held(truth)
    left = _distance(target, goal)
    lying = target[:, 2] < half + 0.012
    there = lying & (left < 0.035)
    release = there & ((left < 0.024) | ~held)
    pick_height = _grasp_height(target) + _cone(_distance(target, hand), 0.009, 1.5, 0.075)
    carry_height = np.maximum(LOW, half) + 0.002 + _cone(left, 0.012, 1.6, 0.075)
    raised = np.clip(1 - (carry_height - hand[:, 2]) / 0.03, 0.0, 1.0)
    carry_place = hand[:, :2] + raised[:, None] * (goal - target[:, :2])
    place = np.where(held[:, None], carry_place, target[:, :2])
    height = np.where(held, carry_height, pick_height)
    place = np.where(release[:, None], hand[:, :2], place)
    height = np.where(release, np.where(truth["opening"] > 0.06, 0.12, hand[:, 2]), height)
    return np.column_stack([place, height]), _open_unless((_around(truth) | held) & ~release)


def _push(truth: dict[str, Array]) -> tuple[Array, Array]:
    """Get behind the object with one corner of the closed gripper, move it into the zone, step back."""
    target, hand, goal = truth["target"][:, :2], truth["hand"], truth["goal"]
    corner_gap = 2 * PAD_HALF[0] + truth["size"][:, 0]
    side = _corner(target, hand, goal, corner_gap)
    gap = side * corner_gap[:, None]
    low = np.clip((0.045 - hand[:, 2]) / 0.02, 0.0, 1.0)
    inside = side * (target - hand[:, :2]) - corner_gap[:, None]
    least = -0.010 + 0.018 * (1 - low)
    funnel = _box(inside, least[:, None], np.full_like(least, 0.030)[:, None], 0.012)
    behind = target - gap - side * 0.013
    # Forward: the hand's place when the object is in the zone, plus closing the gaps to both walls.
    way = goal - gap - hand[:, :2]
    length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    along = way / length
    slip = side * inside
    slip -= along * np.sum(slip * along, axis=1, keepdims=True)
    fast = 0.028 * np.clip(1.4 - np.linalg.norm(slip, axis=1, keepdims=True) / 0.02, 0.1, 1.0)
    forward = hand[:, :2] + along * np.minimum(length, fast) + 2.0 * slip
    engaged = (low * funnel)[:, None]
    clear = np.maximum(funnel, np.clip((hand[:, 2] - 0.045) / 0.025, 0.0, 1.0))[:, None]
    place = engaged * forward + (1 - engaged) * (hand[:, :2] + clear * (behind - hand[:, :2]))
    height = LOW + 0.004 + 0.08 * (1 - funnel)
    left, ahead = np.linalg.norm(goal - target, axis=1), np.max(side * (goal - target), axis=1)
    arrived = (left < 0.022) | ((left < 0.048) & (ahead < 0.012))
    place = np.where(arrived[:, None], hand[:, :2] - side * 0.03, place)
    height = np.where(arrived, hand[:, 2] + 0.02, height)
    return np.column_stack([place, height]), np.zeros(len(target))


def _corner(target: Array, hand: Array, goal: Array, gap: Array) -> Array:
    """Return which corner of the gripper should hold the object, (B, 2) of +-1.

    Among the four, the one with the least distance that pushing would miss the zone by, plus a share of the
    hand's way to it; near the goal the second term decides, so that the hand stays where it is.
    """
    options = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    missed = np.maximum(0.0, -options[None] * (goal - target)[:, None] - 0.015).sum(axis=2)
    way = target[:, None] - options[None] * gap[:, None, None] - hand[:, None, :2]
    return options[np.argmin(missed + 0.4 * np.linalg.norm(way, axis=2), axis=1)]


def _held(truth: dict[str, Array]) -> NDArray[np.bool_]:
    return (truth["contact"].min(axis=1) > 0) & (truth["grip"] < 0.5)


def _around(truth: dict[str, Array]) -> NDArray[np.bool_]:
    """Return whether the fingers are around the object: closing would grip it."""
    error = np.abs(truth["target"] - truth["hand"])
    low = truth["hand"][:, 2] < _grasp_height(truth["target"]) + 0.014
    return (error[:, 0] < 0.018) & (error[:, 1] < 0.016) & low


def _open_unless(closed: NDArray[np.bool_]) -> Array:
    return np.where(closed, 0.0, 1.0)


def _grasp_height(target: Array) -> Array:
    return np.maximum(LOW + 0.002, target[:, 2] - 0.002)


def _distance(first: Array, second: Array) -> Array:
    return np.hypot(first[:, 0] - second[:, 0], first[:, 1] - second[:, 1])


def _cone(error: Array, free: float, slope: float, most: float) -> Array:
    return np.minimum(most, slope * np.maximum(0.0, error - free))


def _box(values: Array, low: Array, high: Array, edge: float) -> Array:
    """Return 1 inside [low, high] in all columns, falling to 0 within ``edge`` outside, (B,)."""
    return np.clip(1 + np.minimum(values - low, high - values) / edge, 0.0, 1.0).prod(axis=1)

"""How the hand and the target stand when an episode begins: away from everything, or in the middle of the task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.envs.tabletop.language import Goal
from sinew.envs.tabletop.layout import Layout
from sinew.envs.tabletop.scene import FINGER_GAP, FINGER_TRAVEL, HAND_HIGH, HAND_LOW, PAD_HALF, SHAPES


@dataclass(frozen=True)
class Pose:
    """The hand and the target at the beginning.

    Attributes:
        hand: (3,) the point between the finger pads [m].
        number: of the target object. target: (3,) its origin [m].
        opening: distance of each finger from the middle [m].
        grip: what the gripper is told, 0 closed or 1 open.
    """

    hand: NDArray[np.float64]
    number: int
    target: NDArray[np.float64]
    opening: float
    grip: float


def away(goal: Goal, layout: Layout, rng: np.random.Generator) -> Pose:
    """Return an open hand somewhere above the table."""
    hand = np.array([-0.20, -0.15, 0.10]) + rng.random(3) * np.array([0.40, 0.30, 0.09])
    return Pose(hand, goal.target, _lying(goal, layout), FINGER_TRAVEL, 1.0)


def midway(goal: Goal, layout: Layout, rng: np.random.Generator) -> Pose:
    """Return a moment of the task: near the target, holding it, carrying it, behind it or done with it."""
    if goal.skill == "push":
        return _pushing(goal, layout, rng)
    draw = rng.random()
    near = _near(goal, layout, rng)
    if goal.skill == "touch" or draw < 0.4:
        return near
    if goal.skill == "lift":
        return _holding(goal, layout, near.target[:2], rng)
    zone = layout.zones[goal.zone or 0]
    if draw < 0.6:
        return _holding(goal, layout, near.target[:2] + rng.random() * (zone - near.target[:2]), rng)
    if draw < 0.9:
        return _holding(goal, layout, zone + (rng.random(2) - 0.5) * 0.06, rng)
    there = zone + (rng.random(2) - 0.5) * 0.04
    target = np.array([*there, near.target[2]])
    hand = np.array([*(there + (rng.random(2) - 0.5) * 0.008), HAND_LOW[2] + rng.random() * 0.03])
    return Pose(hand, goal.target, target, FINGER_TRAVEL, 1.0)


def _lying(goal: Goal, layout: Layout) -> NDArray[np.float64]:
    return np.array([*layout.places[goal.target], SHAPES[layout.things[goal.target].shape].half_height])


def _near(goal: Goal, layout: Layout, rng: np.random.Generator) -> Pose:
    """Return an open hand above the target or lower around it."""
    target = _lying(goal, layout)
    height = rng.random()
    spread = 0.012 + 0.06 * height
    closed = goal.skill == "touch" and rng.random() < 0.5
    low = 0.075 if closed else 0.022 + 0.02 * rng.random()
    hand = target * [1, 1, 0] + [*((rng.random(2) - 0.5) * spread), low + 0.09 * height]
    if goal.skill == "touch":
        hand[2] = max(hand[2], 0.075)
    return Pose(hand, goal.target, target, FINGER_GAP if closed else FINGER_TRAVEL, 0.0 if closed else 1.0)


def _holding(goal: Goal, layout: Layout, place: NDArray[np.float64], rng: np.random.Generator) -> Pose:
    """Return a closed hand with the target in it at this place."""
    shape = SHAPES[layout.things[goal.target].shape]
    raised = 0.002 + 0.07 * rng.random()
    target = np.array([*place, shape.half_height + raised])
    hand = np.array([*place, target[2] + (rng.random() - 0.5) * 0.006])
    return Pose(np.clip(hand, HAND_LOW, HAND_HIGH), goal.target, target, shape.radius, 0.0)


def _pushing(goal: Goal, layout: Layout, rng: np.random.Generator) -> Pose:
    """Return a closed hand near one corner of the target, high or low, the target still there or part of the way."""
    target = _lying(goal, layout)
    way = layout.zones[goal.zone or 0] - target[:2]
    if rng.random() < 0.5:
        target[:2] += rng.random() * 0.9 * way
    corner = np.where(way >= 0, 1.0, -1.0)
    if rng.random() < 0.25:
        corner *= np.where(rng.random(2) < 0.5, 1.0, -1.0)
    radius = SHAPES[layout.things[goal.target].shape].radius
    gap = radius * 1.25 + 2 * PAD_HALF[0] + rng.random(2) * 0.025
    height = 0.02 + 0.09 * max(0.0, rng.random() * 2 - 1)
    hand = np.array([*(target[:2] - corner * gap), height])
    return Pose(np.clip(hand, HAND_LOW, HAND_HIGH), goal.target, target, FINGER_GAP, 0.0)

"""Whether an episode succeeded or failed, and the sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.envs.tabletop.language import Goal
from sinew.envs.tabletop.layout import Layout
from sinew.envs.tabletop.scene import SHAPES, ZONE_RADIUS

LIFTED_M = 0.09
MOVED_M = 0.05
REST_M_S = 0.05
RETREAT_M = 0.06
TICK_SHARE = {"touch": 0.6, "lift": 0.6, "place": 1.0, "push": 1.0}
"""Share of the config's ``max_ticks`` that each skill gets."""
UNJUDGED = "time is over; this world cannot judge that sentence"
"""Note of an episode whose instruction was not understood."""


@dataclass(frozen=True)
class Facts:
    """What the judge looks at, of one row after one tick.

    Attributes:
        hand: (3,) [m]. places: (K, 3) of the objects [m].
        began: (K, 3) where the objects were when the episode began [m].
        speed: of the target [m/s].
        touched: numbers of the objects that the hand touches.
    """

    hand: NDArray[np.float64]
    places: NDArray[np.float64]
    began: NDArray[np.float64]
    speed: float
    touched: frozenset[int]


def failure(goal: Goal, layout: Layout, facts: Facts) -> str:
    """Return why the episode has failed for good, or "" while it has not."""
    moved = np.hypot(*(facts.places - facts.began)[:, :2].T)
    for number in range(len(moved)):
        if number != goal.target and moved[number] > MOVED_M:
            return f"moved {name(number, layout)} by {100 * moved[number]:.0f} cm"
        if facts.places[number, 2] < 0:
            return f"{name(number, layout)} fell off the table"
    if goal.skill == "touch" and facts.touched - {goal.target}:
        return f"touched {name(min(facts.touched - {goal.target}), layout)}"
    if goal.skill == "push" and facts.places[goal.target, 2] > _standing(goal, layout) + 0.03:
        return f"lifted {name(goal.target, layout)} instead of pushing it"
    return ""


def success(goal: Goal, layout: Layout, facts: Facts) -> bool:
    """Return whether the goal holds now.

    touch: the hand touches the object and no other. lift: its origin is above 9 cm.
    place: it lies untouched and at rest on the table with its centre in the zone, the hand above 6 cm.
    push: the same, wherever the hand is.
    """
    target = facts.places[goal.target]
    if goal.skill == "touch":
        return facts.touched == frozenset({goal.target})
    if goal.skill == "lift":
        return bool(target[2] > LIFTED_M)
    lies = target[2] < _standing(goal, layout) + 0.01 and facts.speed < REST_M_S and goal.target not in facts.touched
    in_zone = np.hypot(*(target[:2] - layout.zones[goal.zone or 0])) < ZONE_RADIUS
    return bool(lies and in_zone and (goal.skill == "push" or facts.hand[2] > RETREAT_M))


def time_out(goal: Goal, layout: Layout, facts: Facts) -> str:
    """Return what was missing when the time was over."""
    target, what = facts.places[goal.target], name(goal.target, layout)
    gap = facts.hand - target
    side = "above" if gap[2] > 0 else "below"
    where = f"{100 * abs(gap[2]):.1f} cm {side} {what} and {100 * np.hypot(gap[0], gap[1]):.1f} cm beside it"
    if goal.skill == "touch":
        return f"timed out: the hand stayed {where}"
    if goal.skill == "lift":
        raised = target[2] - _standing(goal, layout)
        return f"timed out: {what} was {100 * max(0.0, raised):.1f} cm above the table, the hand {where}"
    left = np.hypot(*(target[:2] - layout.zones[goal.zone or 0]))
    zone = f"the {layout.zone_colours[goal.zone or 0]} zone"
    if left < ZONE_RADIUS:
        return f"timed out: {what} was in {zone} but not let go of"
    return f"timed out: {what} was {100 * left:.1f} cm from the middle of {zone}, the hand {where}"


def name(number: int, layout: Layout) -> str:
    """Return an object's full name."""
    return f"the {layout.things[number].colour} {layout.things[number].shape}"


def _standing(goal: Goal, layout: Layout) -> float:
    return SHAPES[layout.things[goal.target].shape].half_height

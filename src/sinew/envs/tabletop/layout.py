"""Where things lie: random scenes in which the task can be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import Goal, Thing
from sinew.envs.tabletop.scene import COLOURS, SHAPES, ZONE_COLOURS

T = TypeVar("T")

AREA_LOW = np.array([-0.165, -0.125])
AREA_HIGH = np.array([0.165, 0.14])
SPACING = 0.11
PUSH_DISTANCE = (0.12, 0.30)
CORRIDOR = 0.08
HAND_CLEAR = 0.07
BEHIND = 0.042
EITHER = 0.035
CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


@dataclass(frozen=True)
class Layout:
    """What is on the table and where.

    Attributes:
        things: the objects, ordered by shape so that few different models are compiled.
        places: (K, 2) of the objects [m]. yaws: (K,) [rad].
        zone_colours: of the Z zones. zones: (Z, 2) their centres [m].
    """

    things: tuple[Thing, ...]
    places: NDArray[np.float64]
    yaws: NDArray[np.float64]
    zone_colours: tuple[str, ...]
    zones: NDArray[np.float64]


def held_out(config: TabletopConfig) -> frozenset[Thing]:
    """Return the colour-shape pairs that training never shows: every fifth, some of each shape."""
    colours, shapes = list(COLOURS)[: config.colours], list(SHAPES)[: config.shapes]
    pairs = [(colour, shape) for shape in range(len(shapes)) for colour in range(len(colours))]
    return frozenset(Thing(colours[c], shapes[s]) for c, s in pairs if (c + 2 * s) % 5 == 3)


def all_things(config: TabletopConfig) -> tuple[Thing, ...]:
    """Return every colour-shape pair in use."""
    shapes, colours = list(SHAPES)[: config.shapes], list(COLOURS)[: config.colours]
    return tuple(Thing(colour, shape) for shape in shapes for colour in colours)


def draw_things(
    config: TabletopConfig, rng: np.random.Generator, *, unseen: bool, distractors: int
) -> tuple[Thing, ...]:
    """Draw a target, first, and distractors; in most scenes one of these shares its colour, or its shape, as often.

    Held-out pairs lie on the table only where one is the target: a pair that training shows, but never asks for,
    would be learned as one that is never meant.
    """
    pairs, excluded = all_things(config), held_out(config)
    target = pick([pair for pair in pairs if (pair in excluded) == unseen], rng)
    rest = [pair for pair in pairs if pair != target and (unseen or pair not in excluded)]
    shared = "colour" if rng.random() < 0.5 else "shape"
    alike = [pair for pair in rest if getattr(pair, shared) == getattr(target, shared)]
    chosen = [pick(alike, rng)] if alike and rng.random() < 0.6 else []
    while len(chosen) < min(distractors, len(rest)):
        chosen.append(pick([pair for pair in rest if pair not in chosen], rng))
    return (target, *chosen)


def draw_layout(
    config: TabletopConfig, rng: np.random.Generator, things: tuple[Thing, ...], skill: str
) -> tuple[Layout, int]:
    """Place the things of which the first is the target.

    In scenes for pushing the way from the target to the first zone is free, and of three such scenes
    the one with most free ways is kept, so that other goals can be asked for as well.

    Returns:
        The layout and the target's number in it.
    """
    order = sorted(range(len(things)), key=lambda number: list(SHAPES).index(things[number].shape))
    target = order.index(0)
    colours = shuffled(list(ZONE_COLOURS), rng)[: config.zones]
    best: Layout | None = None
    found = 0
    for attempt in range(10_000):
        spacing = SPACING * max(0.75, 1 - attempt / 2000)
        points = _scatter(len(things) + config.zones, spacing, rng)
        if points is None:
            continue
        yaws = (rng.random(len(things)) - 0.5) * 0.8
        places, zones = points[: len(things)], points[len(things) :]
        layout = Layout(tuple(things[k] for k in order), places, yaws, tuple(colours), zones)
        if skill == "push" and not is_feasible(Goal("push", target, 0), layout):
            continue
        if best is None or _num_free(layout) > _num_free(best):
            best = layout
        found += 1
        if skill != "push" or found == 3:
            break
    if best is None:
        raise ConfigError("tabletop: no room for these things in 10,000 attempts. Ask for fewer objects or zones.")
    return best, target


def is_feasible(goal: Goal, layout: Layout) -> bool:
    """Return whether a goal can be reached without moving other objects: pushing needs a free way of fair length."""
    if goal.skill != "push" or goal.zone is None:
        return True
    start, end = layout.places[goal.target], layout.zones[goal.zone]
    length = float(np.hypot(*(end - start)))
    if not PUSH_DISTANCE[0] <= length <= PUSH_DISTANCE[1]:
        return False
    others = np.delete(layout.places, goal.target, axis=0)
    if _gaps(others, start, end).min() <= CORRIDOR:
        return False
    # The hand pushes from the corner diagonally behind; where the way is nearly along an axis, two corners will do.
    corners = [c for c in CORNERS if np.maximum(0.0, -c * (end - start)).sum() <= EITHER]
    return all(_gaps(others, start - BEHIND * c, end - BEHIND * c).min() > HAND_CLEAR for c in corners)


def _gaps(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances of points (K, 2) from a straight way."""
    way = end - start
    share = np.clip((points - start) @ way / (way @ way), 0.0, 1.0)
    gap = points - start - share[:, None] * way
    return np.hypot(gap[:, 0], gap[:, 1])


def _num_free(layout: Layout) -> int:
    pairs = [(k, z) for k in range(len(layout.things)) for z in range(len(layout.zones))]
    return sum(is_feasible(Goal("push", k, z), layout) for k, z in pairs)


def _scatter(count: int, spacing: float, rng: np.random.Generator) -> NDArray[np.float64] | None:
    """Return points (count, 2) at least ``spacing`` apart, or None when they did not fit."""
    points = np.empty((count, 2))
    for number in range(count):
        for _ in range(30):
            point = AREA_LOW + rng.random(2) * (AREA_HIGH - AREA_LOW)
            if (np.hypot(*(points[:number] - point).T) >= spacing).all():
                points[number] = point
                break
        else:
            return None
    return points


def pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of the choices."""
    return choices[int(rng.random() * len(choices))]


def shuffled(values: Sequence[T], rng: np.random.Generator) -> list[T]:
    """Return the values in random order."""
    keys = rng.random(len(values))
    return [values[int(number)] for number in np.argsort(keys, kind="stable")]

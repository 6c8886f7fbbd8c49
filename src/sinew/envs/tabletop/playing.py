"""Playing with a row of the table-top world: moving objects by hand, and saying whatever one likes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.envs.playable import Meaning, Movable
from sinew.envs.tabletop import scene
from sinew.envs.tabletop.language import TEMPLATES, UNSEEN, ZONE_SKILLS, Goal, object_names, zone_names
from sinew.envs.tabletop.layout import AREA_HIGH, AREA_LOW, Layout, is_feasible
from sinew.envs.tabletop.room import View

if TYPE_CHECKING:
    from sinew.envs.tabletop.row import Row, Stage

Points = NDArray[np.float32]

BEYOND = 0.03
"""How far outside the area of random scenes a hand may put things [m]."""
HOVER, OVER = 0.012, 0.05
"""How high things are held above the table, and how much more above others [m]."""
CLEAR = 0.075
"""How far apart objects stand at least, so that the gripper has room around them [m]."""
HAND_CLEAR, LOW_HAND = 0.12, 0.10
"""The same for a hand that is lower than so [m]."""

CALM, TOUCHDOWN, RAISED, WIDE = 0.02, 0.003, 0.10, 0.08
"""Making ready: a step up or down, how low things are before they are let go, where the hand is high and open [m]."""

VERBS: dict[str, frozenset[str]] = {
    "touch": frozenset({"touch", "tap", "contact", "poke"}),
    "lift": frozenset({"lift", "raise", "pick", "grasp", "grab", "take"}),
    "place": frozenset({"put", "place", "carry", "bring", "drop", "set", "move"}),
    "push": frozenset({"push", "slide", "nudge", "shove"}),
}
NOUNS = frozenset({*scene.SHAPES, "object", "thing", "one"})
GROUNDS = frozenset({"zone", "area"})
_SPOKEN = " ".join(text for group in (TEMPLATES, UNSEEN) for texts in group.values() for text in texts)
WORDS = (
    frozenset(re.findall("[a-z]+", re.sub(r"\{\w+\}", "", _SPOKEN)))
    | frozenset().union(*VERBS.values())
    | NOUNS
    | GROUNDS
    | frozenset({*scene.COLOURS, *scene.ZONE_COLOURS, "a", "an", "my", "now", "then", "could", "can", "you", "robot"})
)
"""Every word that may stand in a sentence that is judged."""


def understand(sentence: str, layout: Layout) -> Goal | None:
    """Return the goal of a sentence made of known words that names one object, and one zone where the skill has one."""
    words = re.findall(r"[^\W_]+", sentence.lower())
    if not words or not WORDS.issuperset(words):
        return None
    skills = {skill for skill, known in VERBS.items() if known.intersection(words)}
    grounds = [number for number, word in enumerate(words) if word in GROUNDS]
    targets = [_object(words, number, layout) for number, word in enumerate(words) if word in NOUNS]
    if len(targets) != 1 or targets[0] is None or len(grounds) > 1:
        return None
    skill = _skill(skills, with_zone=bool(grounds))
    zone = _zone(words, grounds[0], layout) if grounds else None
    return None if skill is None or (grounds and zone is None) else Goal(skill, targets[0], zone)


def _skill(found: set[str], *, with_zone: bool) -> str | None:
    """Return the skill that the verbs name together: "take it and put it there" is placing."""
    if with_zone:
        found = found - {"lift"} if "place" in found else found
    return min(found) if len(found) == 1 and (found <= ZONE_SKILLS) == with_zone else None


def _object(words: Sequence[str], noun: int, layout: Layout) -> int | None:
    """Return the number of the only object that a noun, with the colour before it, can mean."""
    before = words[noun - 1] if noun else ""
    found = [
        number
        for number, thing in enumerate(layout.things)
        if (words[noun] == thing.shape or words[noun] not in scene.SHAPES)
        and (before == thing.colour or before not in scene.COLOURS)
    ]
    return found[0] if len(found) == 1 and before not in scene.ZONE_COLOURS else None


def _zone(words: Sequence[str], noun: int, layout: Layout) -> int | None:
    before = words[noun - 1] if noun else ""
    if before in layout.zone_colours:
        return layout.zone_colours.index(before)
    return 0 if len(layout.zones) == 1 and before not in {*scene.ZONE_COLOURS, *scene.COLOURS} else None


def meaning(row: Row, sentence: str) -> Meaning | None:
    """Return what a sentence means in a row's scene, and where the things are that it names."""
    layout = row.start.layout
    goal = understand(sentence, layout)
    if goal is None:
        return None
    points = [row.live.places[goal.target, :3]]
    if goal.zone is not None:
        points.append(np.array([*layout.zones[goal.zone], 0.0]))
    return Meaning(_say(goal, layout, 0), np.array(points, dtype=np.float32))


def suggestions(row: Row) -> tuple[str, ...]:
    """Return sentences for everything that can be done with the objects where they are now.

    Skills, objects and zones take turns, so that the first few differ in all of them; full names only.
    """
    layout = dataclasses.replace(row.start.layout, places=row.live.places[:, :2].copy())
    count, spots = len(layout.things), len(layout.zones)
    rounds: list[str] = []
    for turn in range(count * spots * 3):
        for number, skill in enumerate(("lift", "touch", "place", "push")):
            zone = (turn + number) % spots if skill in ZONE_SKILLS else None
            goal = Goal(skill, (turn + number + turn // spots) % count, zone)
            if is_feasible(goal, layout):
                rounds.append(_say(goal, layout, turn // count))
    return tuple(dict.fromkeys(rounds))


def _say(goal: Goal, layout: Layout, style: int) -> str:
    texts = TEMPLATES[goal.skill]
    zone = zone_names(goal.zone, layout.zone_colours)[0] if goal.zone is not None else ""
    return texts[style % len(texts)].format(object=object_names(goal.target, layout.things)[0], zone=zone)


def ready(row: Row) -> NDArray[np.float32] | None:
    """Return the next action that puts down what is held, raises the hand and opens it; None when all is done."""
    data = row.live.data
    height, opening = float(data.qpos[2]), float(data.qpos[3] + data.qpos[4])
    if all(row.any_contact) and not row.grip:
        things = row.start.layout.things
        gaps = [row.live.places[k, 2] - scene.SHAPES[things[k].shape].half_height for k in row.touched]
        gap = min([*gaps, height - scene.HAND_LOW[2]])
        return _move(-min(gap, CALM), 0.0) if gap > TOUCHDOWN else _move(0.0, 1.0)
    if row.grip and opening < WIDE and any(row.any_contact):
        return _move(0.0, 1.0)
    if height < RAISED:
        return _move(CALM, row.grip)
    return None if row.grip and opening > WIDE else _move(0.0, 1.0)


def _move(up: float, grip: float) -> NDArray[np.float32]:
    return np.array([0.0, 0.0, up, grip], dtype=np.float32)


def movables(row: Row) -> tuple[Movable, ...]:
    """Return the objects of a row."""
    things = row.start.layout.things
    return tuple(
        Movable(f"{thing.colour} {thing.shape}", place[:3].astype(np.float32), scene.SHAPES[thing.shape].radius)
        for thing, place in zip(things, row.live.places, strict=True)
    )


@dataclass(frozen=True)
class Held:
    """What a hand holds: the object's number, its pose (7,), and what its geoms could touch before."""

    number: int
    pose: NDArray[np.float64]
    contacts: tuple[tuple[int, int, int], ...]


def hold(row: Row, number: int, point: Points) -> None:
    """Hold an object above the place of the table that lies at ``point`` of the picture.

    A hand takes it through the gripper and past other objects.

    Raises:
        DataError: there is no such object, or the point is none.
    """
    stage, layout = row.live, row.start.layout
    if not 0 <= number < len(layout.things):
        raise DataError(f"tabletop: there is no object {number}; they have numbers from 0 to {len(layout.things) - 1}.")
    if point.shape != (2,) or not np.isfinite(point).all():
        raise DataError(f"tabletop: {point.tolist()} is no point of the picture; give x and y, both from 0 to 1.")
    if row.held is not None and row.held.number != number:
        drop(row)
    pose = _upright(row, number)
    pose[:2] = np.clip(_on_table(stage, point.astype(np.float64), pose[2]), AREA_LOW - BEYOND, AREA_HIGH + BEYOND)
    near = np.hypot(*(np.delete(stage.places[:, :2], number, axis=0) - pose[:2]).T).min(initial=1.0)
    pose[2] += HOVER + OVER * np.clip((CLEAR - near) / 0.03, 0.0, 1.0)
    row.held = Held(number, pose, _take(stage, number) if row.held is None else row.held.contacts)
    pin(row)


def pin(row: Row) -> None:
    """Keep what is held where it is held, upright and at rest."""
    if row.held is not None:
        row.live.places[row.held.number], row.live.speeds[row.held.number] = row.held.pose, 0.0


def drop(row: Row) -> None:
    """Put down what is held, at the nearest free place."""
    if row.held is None:
        return
    number, pose = row.held.number, _upright(row, row.held.number)
    pose[:2] = _free(row.live, number, row.held.pose[:2])
    release(row)
    row.live.places[number], row.live.speeds[number] = pose, 0.0
    row.began[number] = pose


def release(row: Row) -> None:
    """Let go of what is held, wherever it is."""
    if row.held is not None:
        model = row.live.world.model
        for geom, kind, affinity in row.held.contacts:
            model.geom_contype[geom], model.geom_conaffinity[geom] = kind, affinity
        row.held = None


def _take(stage: Stage, number: int) -> tuple[tuple[int, int, int], ...]:
    """Make an object touch nothing; return its geoms with what they could touch."""
    model, geoms = stage.world.model, np.flatnonzero(stage.world.owner == number)
    contacts = [(int(geom), int(model.geom_contype[geom]), int(model.geom_conaffinity[geom])) for geom in geoms]
    model.geom_contype[geoms] = model.geom_conaffinity[geoms] = 0
    return tuple(contacts)


def _upright(row: Row, number: int) -> NDArray[np.float64]:
    """Return the pose (7,) of an object that stands where it is, turned as in the beginning."""
    layout, places = row.start.layout, row.live.places
    yaw, height = layout.yaws[number] / 2, scene.SHAPES[layout.things[number].shape].half_height
    return np.array([*places[number, :2], height, np.cos(yaw), 0.0, 0.0, np.sin(yaw)])


def _on_table(stage: Stage, point: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """Return x and y [m] of what is seen at a point of the picture, on the plane of that height."""
    view = View.of(stage.world.model, stage.data, 1.0)
    way = np.array([1.0, *point]) @ view.basis
    if way[2] > -1e-2:  # at or above the horizon: as far away as can be
        return np.array([np.sign(way[0]), 1.0])
    return (view.origin + way * (height - view.origin[2]) / way[2])[:2]


def _free(stage: Stage, number: int, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest place that keeps clear of the other objects and of a lowered hand; any where all is full."""
    angle = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    spots = wanted + (np.arange(0.0, 0.5, 0.005)[:, None, None] * ring).reshape(-1, 2)
    others = np.delete(stage.places[:, :2], number, axis=0)
    good = (np.abs(spots - (AREA_LOW + AREA_HIGH) / 2) <= (AREA_HIGH - AREA_LOW) / 2 + BEYOND + 1e-9).all(axis=1)
    good &= (np.hypot(*(spots[:, None] - others).transpose(2, 0, 1)) >= CLEAR).all(axis=1)
    hand = stage.data.qpos[:3]
    if hand[2] < LOW_HAND:
        good &= np.hypot(*(spots - hand[:2]).T) >= HAND_CLEAR
    return spots[np.argmax(good)] if good.any() else wanted

"""Initial states by name: an id is turned into a scene, a goal and a sentence, the same on every machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import SKILLS, TEMPLATES, UNSEEN, ZONE_SKILLS, Goal, Thing, object_names, zone_names
from sinew.envs.tabletop.layout import Layout, draw_layout, draw_things, held_out, is_feasible, pick
from sinew.envs.tabletop.midway import Pose, away, midway
from sinew.envs.tabletop.playing import understand

SPLITS = ("train", "seen", "pairs", "templates", "crowded")
VARIANTS = ("wrong", "other", "silent")
SAID = "say="
"""Begins the name of a variant whose sentence follows, word for word."""


@dataclass(frozen=True)
class Start:
    """One initial state.

    Attributes:
        layout: what lies where.
        goal: what is judged.
        instruction: what is said.
        pose: the hand, and where the target is held or lies.
        judged: the goal is what the instruction asks for; else only the time is judged.
    """

    layout: Layout
    goal: Goal
    instruction: str
    pose: Pose
    judged: bool = True


def splits(config: TabletopConfig) -> tuple[str, ...]:
    """Return the names of the splits; "pairs" is missing where colours and shapes are too few to hold one out."""
    return SPLITS if held_out(config) else tuple(name for name in SPLITS if name != "pairs")


def check_split(config: TabletopConfig, split: str, task: str) -> None:
    """Refuse unknown names.

    Raises:
        ConfigError: the split or the task does not exist.
    """
    if split not in splits(config):
        raise ConfigError(f"tabletop has no split {split!r}; there are {', '.join(splits(config))}.")
    if task not in SKILLS:
        raise ConfigError(f"tabletop has no task {task!r}; there are {', '.join(SKILLS)}.")


def start(config: TabletopConfig, state_id: str) -> Start:
    """Return the initial state of an id such as "seen/push/17", "seen/push/17?wrong" or "seen/push/17?push.2.0".

    The last kind names the goal: skill, number of the object and, where the skill has one, of the zone. A name such as
    "say=lift the ball" is an instruction in anyone's words.

    Raises:
        DataError: the id is malformed or names no state.
    """
    base, _, name = state_id.partition("?")
    scene = _base(config, base)
    if not name:
        return scene
    if name.startswith(SAID):
        sentence = name.removeprefix(SAID)
        asked = understand(sentence, scene.layout)
        return replace(scene, goal=asked or scene.goal, instruction=sentence, judged=asked is not None)
    if "." in name:
        goal = _named_goal(scene.layout, state_id, name)
        return replace(scene, goal=goal, instruction=_plainly(goal, scene.layout))
    said = _variant_goal(config, scene, base, name)
    if said is None:
        raise DataError(
            f"tabletop: {base} has no variant {name!r}; ask `variant` first, it answers None in such a case."
        )
    if name == "silent":
        return replace(scene, instruction="")
    sentence = _say(said, scene.layout, base.split("/")[0], named_rng(f"{state_id}#sentence"))
    return replace(scene, instruction=sentence, goal=said if name == "other" else scene.goal)


def variant(config: TabletopConfig, state_id: str, name: str) -> str | None:
    """Return the id of the same scene under another instruction, or None where there is none.

    Raises:
        DataError: the id or the variant's name is unknown, or the id is a variant already.
    """
    if "?" in state_id:
        raise DataError(f"tabletop: {state_id} is a variant already; give the id before the question mark.")
    return None if _variant_goal(config, _base(config, state_id), state_id, name) is None else f"{state_id}?{name}"


def told(config: TabletopConfig, state_id: str, sentence: str) -> str:
    """Return the id of the same scene under any instruction.

    Raises:
        DataError: the id names no state.
    """
    base = state_id.partition("?")[0]
    _parse(config, base)
    return f"{base}?{SAID}{sentence}"


def showcase(config: TabletopConfig, number: int) -> tuple[str, ...]:
    """Return ids of one scene that different sentences turn into different tasks, each with another object or zone.

    Raises:
        DataError: more are asked for than there are skills.
    """
    if not 1 <= number <= len(SKILLS):
        raise DataError(f"tabletop shows 1 to {len(SKILLS)} tasks in one scene, {number} were asked for.")
    for index in range(1000):
        base = f"seen/push/{index}"
        scene = _base(config, base)
        goals = _different_goals(scene.layout, held_out(config))
        if goals:
            names = [
                ".".join(str(part) for part in (goal.skill, goal.target, goal.zone) if part is not None)
                for goal in goals
            ]
            return tuple(f"{base}?{name}" for name in names[:number])
    raise DataError("tabletop: no scene of the first 1000 has a task for every skill; allow more objects or zones.")


def _different_goals(layout: Layout, unknown: frozenset[Thing]) -> tuple[Goal, ...]:
    """Return a goal per skill, the last two in different zones where there are several; empty where that cannot be."""
    known = [number for number, thing in enumerate(layout.things) if thing not in unknown]
    if len(known) < len(layout.things):
        return ()
    last = len(layout.zones) - 1
    for push in known:
        others = [number for number in known if number != push]
        goals = (
            Goal("lift", others[0]),
            Goal("place", others[-1], last),
            Goal("push", push, 0),
            Goal("touch", others[-1]),
        )
        if all(is_feasible(goal, layout) for goal in goals):
            return goals
    return ()


def _named_goal(layout: Layout, state_id: str, name: str) -> Goal:
    skill, *numbers = name.split(".")
    wanted = 2 if skill in ZONE_SKILLS else 1
    if skill in SKILLS and len(numbers) == wanted and all(part.isdecimal() for part in numbers):
        target, zone = int(numbers[0]), int(numbers[1]) if wanted == 2 else None
        if target < len(layout.things) and (zone or 0) < len(layout.zones):
            return Goal(skill, target, zone)
    raise DataError(f"tabletop: {state_id!r} names no goal of its scene; such ids look like seen/push/17?push.2.0.")


def _plainly(goal: Goal, layout: Layout) -> str:
    """Return the shortest sentence with full names."""
    zone = zone_names(goal.zone, layout.zone_colours)[0] if goal.zone is not None else ""
    return TEMPLATES[goal.skill][0].format(object=object_names(goal.target, layout.things)[0], zone=zone)


def named_rng(name: str) -> np.random.Generator:
    """Return a generator that a name seeds, the same one on every machine."""
    entropy = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _base(config: TabletopConfig, state_id: str) -> Start:
    split, task = _parse(config, state_id)
    rng = named_rng(state_id)
    distractors = (config.objects - 1) * (2 if split == "crowded" else 1)
    things = draw_things(config, rng, unseen=split == "pairs", distractors=distractors)
    layout, target = draw_layout(config, rng, things, task)
    goal = Goal(task, target, 0 if task in ZONE_SKILLS else None)
    sentence = _say(goal, layout, split, rng)
    in_the_middle = split == "train" and rng.random() < config.mid_starts
    return Start(layout, goal, sentence, midway(goal, layout, rng) if in_the_middle else away(goal, layout, rng))


def _parse(config: TabletopConfig, state_id: str) -> tuple[str, str]:
    parts = state_id.split("/")
    if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit()):
        raise DataError(f"tabletop: {state_id!r} is no state id. Write SPLIT/TASK/NUMBER, such as seen/push/17.")
    try:
        check_split(config, parts[0], parts[1])
    except ConfigError as error:
        raise DataError(f"state id {state_id!r}: {error}") from error
    return parts[0], parts[1]


def _say(goal: Goal, layout: Layout, split: str, rng: np.random.Generator) -> str:
    """Draw a sentence for a goal; 40 % use the full name of the object, the others a shorter one where that will do."""
    template = pick((UNSEEN if split == "templates" else TEMPLATES)[goal.skill], rng)
    names = object_names(goal.target, layout.things)
    name = names[0] if rng.random() < 0.4 else pick(names[1:] or names, rng)
    zone = pick(zone_names(goal.zone, layout.zone_colours), rng) if goal.zone is not None else ""
    return template.format(object=name, zone=zone)


def _variant_goal(config: TabletopConfig, scene: Start, base: str, name: str) -> Goal | None:
    """Return the goal that a variant names: another object or zone, or with "other" also another skill."""
    if name not in VARIANTS:
        raise DataError(f"tabletop has no variant {name!r}; there are {', '.join(VARIANTS)}.")
    if name == "silent":
        return scene.goal
    goal, layout = scene.goal, scene.layout
    # What is judged must be a fair question: held-out pairs are asked for in their own split only.
    unknown = held_out(config) if name == "other" and not base.startswith("pairs/") else frozenset()
    numbers = [k for k in range(len(layout.things)) if k == goal.target or layout.things[k] not in unknown]
    skills = SKILLS if name == "other" else (goal.skill,)
    options = [Goal(s, k, z) for s in skills for k in numbers for z in _zones(s, layout)]
    if name == "other":
        options = [new for new in options if is_feasible(new, layout)]
    kinds = [
        [new for new in options if new.skill == goal.skill and new.target != goal.target and new.zone == goal.zone],
        [new for new in options if new.skill == goal.skill and new.target == goal.target and new.zone != goal.zone],
        [new for new in options if new.skill != goal.skill],
    ]
    kinds = [group for group in kinds if group]
    if not kinds:
        return None
    rng = named_rng(f"{base}?{name}")
    return pick(pick(kinds, rng), rng)


def _zones(skill: str, layout: Layout) -> tuple[int | None, ...]:
    return tuple(range(len(layout.zones))) if skill in ZONE_SKILLS else (None,)


def standing(layout: Layout, heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, 7) poses of the objects standing on the table: position and quaternion."""
    poses = np.zeros((len(layout.things), 7))
    poses[:, :2], poses[:, 2] = layout.places, heights
    poses[:, 3], poses[:, 6] = np.cos(layout.yaws / 2), np.sin(layout.yaws / 2)
    return poses

"""What can be said in this world: skills, their sentences, and how things are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SKILLS = ("touch", "lift", "place", "push")
ZONE_SKILLS = frozenset({"place", "push"})

TEMPLATES: dict[str, tuple[str, ...]] = {
    "touch": (
        "touch {object}",
        "tap {object}",
        "please touch {object}",
        "gently touch {object}",
        "tap {object} from above",
        "touch {object} with the gripper",
        "reach out and touch {object}",
        "go and touch {object}",
        "make contact with {object}",
        "use the gripper to tap {object}",
    ),
    "lift": (
        "lift {object}",
        "raise {object}",
        "pick up {object}",
        "lift {object} up",
        "please lift {object}",
        "grasp {object} and lift it",
        "grab {object} and raise it",
        "lift {object} into the air",
        "pick up {object} from the table",
        "take {object} off the table",
    ),
    "place": (
        "put {object} in {zone}",
        "place {object} in {zone}",
        "put {object} on {zone}",
        "place {object} on {zone}",
        "carry {object} to {zone}",
        "bring {object} to {zone}",
        "drop {object} in {zone}",
        "please put {object} in {zone}",
        "set {object} down in {zone}",
        "pick up {object} and put it in {zone}",
        "take {object} and place it in {zone}",
    ),
    "push": (
        "push {object} to {zone}",
        "push {object} into {zone}",
        "slide {object} to {zone}",
        "slide {object} into {zone}",
        "nudge {object} into {zone}",
        "shove {object} into {zone}",
        "please push {object} into {zone}",
        "push {object} across the table to {zone}",
        "slide {object} along the table into {zone}",
        "use the gripper to push {object} to {zone}",
    ),
}
"""Sentences heard in training."""

UNSEEN: dict[str, tuple[str, ...]] = {
    "touch": (
        "please tap {object} with the gripper",
        "go and tap {object} from above",
        "reach out and make contact with {object}",
        "gently tap {object}",
    ),
    "lift": (
        "please pick up {object}",
        "grab {object} and lift it into the air",
        "raise {object} off the table",
        "grasp {object} and raise it up",
    ),
    "place": (
        "please carry {object} to {zone}",
        "pick up {object} and place it in {zone}",
        "take {object} and set it down in {zone}",
        "grab {object} and drop it in {zone}",
    ),
    "push": (
        "please slide {object} to {zone}",
        "use the gripper to slide {object} into {zone}",
        "nudge {object} across the table to {zone}",
        "shove {object} along the table into {zone}",
    ),
}
"""Sentences never heard in training, made of words that are."""


@dataclass(frozen=True)
class Thing:
    """An object as language sees it."""

    colour: str
    shape: str


@dataclass(frozen=True)
class Goal:
    """What is asked for: a skill, the object's number and the zone's number (None where the skill has none)."""

    skill: str
    target: int
    zone: int | None = None


def object_names(target: int, things: Sequence[Thing]) -> tuple[str, ...]:
    """Return every name that means this object and no other one in the scene, the full name first."""
    thing = things[target]
    names = [f"the {thing.colour} {thing.shape}"]
    if sum(other.shape == thing.shape for other in things) == 1:
        names.append(f"the {thing.shape}")
    if sum(other.colour == thing.colour for other in things) == 1:
        names.append(f"the {thing.colour} object")
    return tuple(names)


def zone_names(zone: int, zone_colours: Sequence[str]) -> tuple[str, ...]:
    """Return every name of a zone in the scene."""
    names = (f"the {zone_colours[zone]} zone", f"the {zone_colours[zone]} area")
    return (*names, "the zone") if len(zone_colours) == 1 else names


def sentences(
    goal: Goal,
    things: Sequence[Thing],
    zone_colours: Sequence[str],
    templates: dict[str, tuple[str, ...]] = TEMPLATES,
) -> Iterator[str]:
    """Yield every sentence that asks for this goal in this scene."""
    for template in templates[goal.skill]:
        for name in object_names(goal.target, things):
            if goal.zone is None:
                yield template.format(object=name)
                continue
            for zone in zone_names(goal.zone, zone_colours):
                yield template.format(object=name, zone=zone)


def all_sentences(colours: Sequence[str], shapes: Sequence[str], zone_colours: Sequence[str]) -> tuple[str, ...]:
    """Return every sentence of every scene, templates of training and unseen ones, sorted."""
    objects = [f"the {colour} {noun}" for colour in colours for noun in (*shapes, "object")]
    objects += [f"the {shape}" for shape in shapes]
    zones = [f"the {colour} {noun}" for colour in zone_colours for noun in ("zone", "area")] + ["the zone"]
    templates = [template for group in (TEMPLATES, UNSEEN) for skill in SKILLS for template in group[skill]]
    every = {text.format(object=name, zone=zone) for text in templates for name in objects for zone in zones}
    return tuple(sorted(every))

"""What is said of a scene on the table: a caption with positions, and every question that has one right answer.

People read the words in the image: left and right along x, front (near the camera) and back along y.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sinew.core.sights import Question
from sinew.envs.tabletop.language import Thing
from sinew.envs.tabletop.layout import AREA_HIGH, AREA_LOW

DESCRIBE = "describe the table"
CELLS = (8, 6)
"""Columns and rows of the grid that captions count in."""
NUMBERS = ("no", "one", "two", "three", "four")
CLEAR = 0.03
"""Things are told apart by place when they lie that far from each other along an axis [m]."""
OFF_CENTRE = 0.02
"""A corner of the table is named when a thing lies that far from both middle lines [m]."""
SIDES = (("left", 0, -1), ("right", 0, 1), ("front", 1, -1), ("back", 1, 1))
RELATIONS = (("left of", 0, -1), ("right of", 0, 1), ("in front of", 1, -1), ("behind", 1, 1))
KINDS = ("count", "colour", "shape", "colour by side", "shape by side", "quadrant", "relation")
"""What is asked for."""

Places = NDArray[np.float64]


def caption(things: Sequence[Thing], places: Places) -> str:
    """Return how many things there are and, from left to right, what each is and in which cell (K, 2) [m] it lies."""
    columns, rows = cells(places).T
    order = np.argsort(places[:, 0], kind="stable")
    parts = [f"{things[k].colour} {things[k].shape} x{columns[k]} y{rows[k]}" for k in order]
    return f"{NUMBERS[len(things)]} : {' ; '.join(parts)}"


def cells(places: Places) -> NDArray[np.int64]:
    """Return column and row (K, 2) of places (K, 2) [m], counted from 0 at the left and at the front."""
    share = (places - AREA_LOW) / (AREA_HIGH - AREA_LOW)
    return np.clip((share * CELLS).astype(np.int64), 0, np.array(CELLS) - 1)


def score(truth: str, said: str) -> float:
    """Return the share of a caption's things that a description names with colour, shape and, within one cell, place.

    Things that are not there count against it: the share is of what is there or said, whichever is more.
    """
    wanted, found = _named(truth), _named(said)
    if not wanted:
        return float(not found)
    right = 0
    left = list(found)
    for name, x, y in wanted:
        match = next((one for one in left if one[0] == name and abs(one[1] - x) <= 1 and abs(one[2] - y) <= 1), None)
        if match is not None:
            left.remove(match)
            right += 1
    return right / max(len(wanted), len(found))


def _named(text: str) -> list[tuple[str, int, int]]:
    return [(f"{a} {b}", int(x), int(y)) for a, b, x, y in re.findall(r"(\w+) (\w+) x\s?(\d+) y\s?(\d+)", text)]


def questions(things: Sequence[Thing], places: Places) -> Iterator[Question]:
    """Yield every question about things at places (K, 2) [m] that has one right answer.

    Colour asks by shape and shape by colour, so with several things they can be answered only by who sees which colour
    belongs to which shape.
    """
    yield Question("count", "how many objects are there ?", NUMBERS[len(things)])
    for number, thing in enumerate(things):
        if _alone(things, "shape", thing.shape):
            yield Question("colour", f"what colour is the {thing.shape} ?", thing.colour)
            yield from _quadrant(f"the {thing.shape}", places[number])
        if _alone(things, "colour", thing.colour):
            yield Question("shape", f"what shape is the {thing.colour} object ?", thing.shape)
            yield from _quadrant(f"the {thing.colour} object", places[number])
    if len(things) > 1:
        yield from _sides(things, places)
        yield from _relations(things, places)


def _alone(things: Sequence[Thing], what: str, value: str) -> bool:
    return sum(getattr(thing, what) == value for thing in things) == 1


def _quadrant(name: str, place: Places) -> Iterator[Question]:
    offset = place - (AREA_LOW + AREA_HIGH) / 2
    if (np.abs(offset) >= OFF_CENTRE).all():
        depth, side = "back" if offset[1] > 0 else "front", "right" if offset[0] > 0 else "left"
        yield Question("quadrant", f"in which corner is {name} ?", f"{depth} {side}")


def _sides(things: Sequence[Thing], places: Places) -> Iterator[Question]:
    """Yield what the outermost thing of each side is, where it is clear which one that is."""
    for side, axis, sign in SIDES:
        order = np.argsort(-sign * places[:, axis])
        if sign * (places[order[0], axis] - places[order[1], axis]) < CLEAR:
            continue
        thing = things[order[0]]
        yield Question("colour by side", f"what colour is the object furthest to the {side} ?", thing.colour)
        yield Question("shape by side", f"what shape is the object furthest to the {side} ?", thing.shape)


def _relations(things: Sequence[Thing], places: Places) -> Iterator[Question]:
    for first, thing in enumerate(things):
        for second, other in enumerate(things):
            names = _two_names(things, thing, other)
            if first != second and names is not None:
                yield from _related(names, places[first] - places[second])


def _related(names: tuple[str, str], offset: Places) -> Iterator[Question]:
    """Yield how one thing lies to another, (2,) [m] away, where that is clear."""
    for words, axis, sign in RELATIONS:
        if abs(offset[axis]) >= CLEAR:
            yield Question(
                "relation", f"is {names[0]} {words} {names[1]} ?", "yes" if sign * offset[axis] > 0 else "no"
            )


def _two_names(things: Sequence[Thing], thing: Thing, other: Thing) -> tuple[str, str] | None:
    """Return how to call two things apart, by colour of the first and shape of the second; None where unclear."""
    if _alone(things, "colour", thing.colour) and _alone(things, "shape", other.shape):
        return f"the {thing.colour} object", f"the {other.shape}"
    return None

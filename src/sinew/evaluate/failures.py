"""Picks the failed episodes that are worth watching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sinew.core.rollout import Outcome
from sinew.evaluate.success import Cell


@dataclass(frozen=True)
class Failure:
    """A failed episode.

    Attributes:
        split: where it began. task: what was to be done.
        outcome: how it ended, with its state id and the world's note.
        share: of this task's failures on this split, the share whose note begins the same, up to its colon.
        expert: whether the expert succeeded from there; None where it was not tried.
    """

    split: str
    task: str
    outcome: Outcome
    share: float
    expert: bool | None


def worst(cells: Sequence[Cell], *, count: int = 3) -> tuple[Failure, ...]:
    """Return the failures that say most, the same ones for the same cells.

    One per task and kind of ending first, then a second one, and so on; among those, seen states before other
    splits (failing on known things is worse), states the expert solves before those it fails on, and
    long episodes before short ones (a quick failure mostly explains itself).

    Args:
        cells: of one evaluation; controls only tell what the expert did.
        count: how many to return at most.
    """
    expert = {
        outcome.state_id: outcome.success for cell in cells if cell.control == "expert" for outcome in cell.outcomes
    }
    found = [failure for cell in cells if cell.control == "none" for failure in _failures(cell, expert)]
    notes: dict[str, list[str]] = {}
    repeats: Counter[tuple[str, str]] = Counter()
    ordered: list[tuple[int, int, int, Failure]] = []
    for place, failure in enumerate(sorted(found, key=_rank)):
        task, note = failure.task, _kind(failure.outcome)
        known = notes.setdefault(task, [])
        if note not in known:
            known.append(note)
        ordered.append((repeats[task, note], known.index(note), place, failure))
        repeats[task, note] += 1
    return tuple(item[3] for item in sorted(ordered, key=lambda item: item[:3])[:count])


def _failures(cell: Cell, expert: dict[str, bool]) -> list[Failure]:
    failed = [outcome for outcome in cell.outcomes if not outcome.success]
    kinds = Counter(_kind(outcome) for outcome in failed)
    return [
        Failure(cell.split, cell.task, one, kinds[_kind(one)] / len(failed), expert.get(one.state_id)) for one in failed
    ]


def _kind(outcome: Outcome) -> str:
    """Return how the episode ended without the figures: "timed out" of "timed out: 3.1 cm from ..."."""
    return outcome.note.partition(":")[0]


def _rank(failure: Failure) -> tuple[bool, bool, int, str]:
    outcome = failure.outcome
    return failure.split != "seen", failure.expert is False, -outcome.ticks, outcome.state_id

"""How practice is shared among tasks by how well they go; a state machine of scores and shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

KEPT = 0.6
"""Weight of what was known of a task before its newest scores."""


def smoothed(rates: Mapping[str, float], found: Mapping[str, float]) -> dict[str, float]:
    """Return success rates by task, those found mixed into those known.

    Args:
        rates: known so far; a task may be missing.
        found: of some new episodes; a task may be missing.
    """
    return {**rates, **{task: KEPT * rates.get(task, rate) + (1 - KEPT) * rate for task, rate in found.items()}}


def emphasis(
    tasks: Sequence[str], mix: Mapping[str, float] | None, rates: Mapping[str, float], focus: float
) -> dict[str, float]:
    """Return the share of practice of each task; they sum to 1.

    A task that always fails or always succeeds has nothing to tell apart: the variance p (1 - p) of its success
    says how much a group of its episodes teaches.

    Args:
        tasks: all of them.
        mix: how they are shared apart from that, in any unit, missing ones get none; None means evenly.
        rates: success by task; without all of them ``mix`` decides alone.
        focus: share, 0 .. 1, that goes by p (1 - p); the rest goes by ``mix``.
    """
    plain = {task: (mix or dict.fromkeys(tasks, 1.0)).get(task, 0.0) for task in tasks}
    told = {task: plain[task] * rates.get(task, 0.0) * (1 - rates.get(task, 0.0)) for task in tasks}
    known = all(task in rates for task, weight in plain.items() if weight > 0)
    if not known or sum(told.values()) == 0:
        focus = 0.0
    total, all_told = sum(plain.values()), sum(told.values()) or 1.0
    return {task: (1 - focus) * plain[task] / total + focus * told[task] / all_told for task in tasks}

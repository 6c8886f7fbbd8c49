"""Compares two policies on the same initial states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sinew.core.errors import DataError
from sinew.evaluate.intervals import mcnemar, paired_difference
from sinew.evaluate.rates import ALL
from sinew.evaluate.success import Cell


@dataclass(frozen=True)
class Comparison:
    """Two policies on one split and task, state by state.

    Attributes:
        split: where the initial states come from. task: what was to be done, or "all".
        both: states on which both succeeded. only_first: on which only the first did.
        only_second: on which only the second did. neither: on which both failed.
        difference: first rate minus second rate.
        low: lower end of its 95 % interval (Newcombe 1998). high: upper end.
        p: exact two-sided McNemar test.
    """

    split: str
    task: str
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def n(self) -> int:
        """States that both tried."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def better(self) -> str | None:
        """``first``, ``second``, or None: while the interval holds 0 or p >= 0.05, neither is called better."""
        if self.low <= 0 <= self.high or self.p >= 0.05:
            return None
        return "first" if self.difference > 0 else "second"

    def __str__(self) -> str:
        """Return the comparison as one line for people."""
        points = f"{100 * self.difference:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        verdict = f"the {self.better} is better" if self.better else "no difference shown"
        return f"{self.task} ({self.split}): {points}, n = {self.n}, p = {self.p:.3g}: {verdict}"


def compare(first: Sequence[Cell], second: Sequence[Cell]) -> tuple[Comparison, ...]:
    """Compare two evaluations on the states that both tried, per split and task and over all tasks.

    Controls are left out: they measure the world, or the policy's faults.

    Raises:
        DataError: the two have no initial state in common.
    """
    theirs = {
        (cell.split, cell.task): {outcome.state_id: outcome.success for outcome in cell.outcomes}
        for cell in second
        if cell.control == "none"
    }
    pairs: dict[str, dict[str, list[tuple[bool, bool]]]] = {}
    for cell in first:
        known = theirs.get((cell.split, cell.task), {}) if cell.control == "none" else {}
        shared = [(one.success, known[one.state_id]) for one in cell.outcomes if one.state_id in known]
        if shared:
            pairs.setdefault(cell.split, {})[cell.task] = shared
    if not pairs:
        raise DataError(
            "the two evaluations have no initial state in common, so they cannot be compared. "
            "Evaluate both with the same settings."
        )
    return tuple(
        _compare(split, task, outcomes)
        for split, tasks in pairs.items()
        for task, outcomes in (*tasks.items(), (ALL, [pair for part in tasks.values() for pair in part]))
    )


def compared_lines(first: str, second: str, compared: Sequence[Comparison]) -> list[str]:
    """Return comparisons as lines for people, after one that names the two; "all" only where there is more than one.

    Args:
        first: name of the one that points above 0 speak for.
        second: name of the other.
        compared: from ``compare``.
    """
    counts = Counter(one.split for one in compared if one.task != ALL)
    shown = [str(one) for one in compared if one.task != ALL or counts[one.split] > 1]
    return [f"{first} (the first) against {second} (the second); + means that the first is ahead", *shown]


def _compare(split: str, task: str, pairs: Sequence[tuple[bool, bool]]) -> Comparison:
    counts = [pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
    both, only_first, only_second, neither = counts
    difference, low, high = paired_difference(both, only_first, only_second, neither)
    p = mcnemar(only_first, only_second)
    return Comparison(split, task, both, only_first, only_second, neither, difference, low, high, p)

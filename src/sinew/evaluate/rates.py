"""Success rates with intervals, of one run or pooled over training seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sinew.core.errors import DataError
from sinew.evaluate.intervals import bootstrap_seeds, wilson
from sinew.evaluate.success import Cell

ALL = "all"
"""The task name of a rate over all tasks."""


@dataclass(frozen=True)
class Rate:
    """A success rate, its n and its 95 % interval.

    Attributes:
        split: where the initial states come from. task: what was to be done, or ``ALL``.
        control: "none" or a key of ``plan.CONTROLS``.
        successes: episodes that succeeded. n: episodes run.
        low: lower bound. high: upper bound; Wilson's for one run. For several runs the wider, at
            each end, of Wilson's and the bootstrap over seeds x states, which alone is too sure of
            itself when nearly every episode ends alike.
        seeds: training runs pooled.
        lowest: the rate of the run that did worst.
    """

    split: str
    task: str
    control: str
    successes: int
    n: int
    low: float
    high: float
    seeds: int
    lowest: float

    @property
    def rate(self) -> float:
        """Success rate."""
        return self.successes / self.n


def rates(runs: Sequence[Sequence[Cell]]) -> tuple[Rate, ...]:
    """Return one rate per cell, and one over all tasks for every split and control.

    Args:
        runs: the cells of each training seed; the same cells on the same states in all.

    Raises:
        DataError: the runs did not try the same states.
    """
    merged = [_with_all(cells) for cells in runs]
    first = merged[0]
    for number, cells in enumerate(merged[1:], start=2):
        if [_states(cell) for cell in cells] != [_states(cell) for cell in first]:
            raise DataError(
                f"evaluation {number} tried other episodes than evaluation 1, so they cannot be pooled. "
                "Evaluate all of them with the same settings."
            )
    return tuple(_rate(cells) for cells in zip(*merged, strict=True))


def find(among: Iterable[Rate], task: str, *, split: str = "seen", control: str = "none") -> Rate | None:
    """Return the rate of one cell, or None where it was not measured."""
    return next((rate for rate in among if (rate.split, rate.task, rate.control) == (split, task, control)), None)


def _with_all(cells: Sequence[Cell]) -> list[Cell]:
    """Add a cell over all tasks after the last task of each condition."""
    conditions: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        conditions.setdefault((cell.split, cell.control), []).append(cell)
    merged: list[Cell] = []
    for (split, control), parts in conditions.items():
        outcomes = tuple(outcome for cell in parts for outcome in cell.outcomes)
        merged += [*parts, Cell(split, ALL, control, outcomes, sum(cell.skipped for cell in parts))]
    return merged


def _states(cell: Cell) -> tuple[str, str, str, list[str]]:
    return cell.split, cell.task, cell.control, [outcome.state_id for outcome in cell.outcomes]


def _rate(cells: Sequence[Cell]) -> Rate:
    first = cells[0]
    successes, n = sum(cell.successes for cell in cells), sum(cell.n for cell in cells)
    low, high = wilson(successes, n)
    if len(cells) > 1:
        drawn_low, drawn_high = bootstrap_seeds([[outcome.success for outcome in cell.outcomes] for cell in cells])
        low, high = min(low, drawn_low), max(high, drawn_high)
    lowest = min(cell.rate for cell in cells)
    return Rate(first.split, first.task, first.control, successes, n, low, high, len(cells), lowest)

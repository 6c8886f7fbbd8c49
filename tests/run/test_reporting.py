"""The last words of a run on the terminal."""

from __future__ import annotations

from sinew.core.rollout import Outcome
from sinew.evaluate.rates import rates
from sinew.evaluate.success import Cell
from sinew.run.reporting import MOST_MISSED, remarks


def cell(successes: int, *, task: str = "left", control: str = "none") -> Cell:
    """Return a cell of 50 episodes, the first of which succeeded."""
    won = [number < successes for number in range(50)]
    return Cell("seen", task, control, tuple(Outcome(str(i), one, 5, float(one), "") for i, one in enumerate(won)))


def test_bars_say_which_way_they_count() -> None:
    measured = rates([[cell(45), cell(25, control="wrong"), cell(0, control="random")]])
    said = list(remarks(measured))
    assert "misses its bar: success on seen states, left: 90 %, wanted at least 95 %" in said
    assert "misses its bar: wrong: above chance, left: 50 %, wanted at most 5 %" in said


def test_many_missed_bars_are_counted() -> None:
    said = list(remarks(rates([[cell(10, task=f"task {number}") for number in range(MOST_MISSED + 3)]])))
    assert len(said) == MOST_MISSED + 1
    assert said[-1] == "and 3 more bars; see the report"


def test_a_weak_run_hears_once_that_controls_cannot_be_judged() -> None:
    said = list(remarks(rates([[cell(10), cell(9, control="wrong"), cell(9, control="random")]])))
    assert [text for text in said if "upper bound" in text] == []
    assert sum("too low to judge controls" in text for text in said) == 1

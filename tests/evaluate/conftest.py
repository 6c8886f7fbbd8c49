"""Cells made by hand, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sinew.core.rollout import Outcome
from sinew.evaluate.success import Cell

MakeCell = Callable[..., Cell]


@pytest.fixture
def make_cell() -> MakeCell:
    def make(successes: int, n: int, *, task: str = "left", split: str = "seen", control: str = "none") -> Cell:
        """Return a cell whose first ``successes`` episodes succeeded."""
        outcomes = tuple(
            Outcome(f"{split}/{task}/{number}", number < successes, 5, float(number < successes), "")
            for number in range(n)
        )
        return Cell(split, task, control, outcomes)

    return make

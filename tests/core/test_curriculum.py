"""Practice goes where episodes differ, and never away from a task altogether."""

from __future__ import annotations

import pytest

from sinew.core.curriculum import KEPT, emphasis, smoothed

TASKS = ("easy", "middle", "hard")


def test_practice_goes_where_success_varies_by_worked_numbers() -> None:
    shares = emphasis(TASKS, None, {"easy": 0.9, "middle": 0.5, "hard": 0.0}, 0.5)
    # p (1 - p) is 0.09, 0.25 and 0; half goes by it, the other half evenly
    assert shares == pytest.approx({"easy": 1 / 6 + 0.09 / 0.68, "middle": 1 / 6 + 0.25 / 0.68, "hard": 1 / 6})
    assert sum(shares.values()) == pytest.approx(1)


def test_the_mix_decides_alone_until_every_task_was_tried_or_when_nothing_varies() -> None:
    mix = {"easy": 1.0, "middle": 3.0}
    plain = {"easy": 0.25, "middle": 0.75, "hard": 0.0}
    assert emphasis(TASKS, mix, {"easy": 0.5}, 0.9) == pytest.approx(plain)
    assert emphasis(TASKS, mix, {"easy": 1.0, "middle": 0.0}, 0.9) == pytest.approx(plain)
    assert emphasis(TASKS, mix, {"easy": 0.5, "middle": 0.5}, 0.9)["hard"] == 0.0


def test_new_scores_move_old_ones() -> None:
    known = smoothed({"easy": 0.5}, {"easy": 1.0, "hard": 0.2})
    assert known == pytest.approx({"easy": 0.5 * KEPT + 1 - KEPT, "hard": 0.2})

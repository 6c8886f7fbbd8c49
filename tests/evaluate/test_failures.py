from __future__ import annotations

from sinew.core.rollout import Outcome
from sinew.evaluate.failures import worst
from sinew.evaluate.success import Cell


def cell(task: str, *ends: tuple[str, bool, int, str], split: str = "seen", control: str = "none") -> Cell:
    return Cell(split, task, control, tuple(Outcome(name, won, ticks, 0.0, note) for name, won, ticks, note in ends))


LATE, FELL = "out of time", "fell over"


def test_failures_come_from_different_tasks_and_end_in_different_ways() -> None:
    cells = [
        cell(
            "left",
            ("a", False, 60, LATE),
            ("b", False, 59, f"{LATE}: far"),
            ("c", True, 5, ""),
            ("d", False, 8, FELL),
        ),
        cell("right", ("e", False, 40, LATE), ("f", False, 30, LATE)),
    ]
    found = worst(cells)
    assert [failure.outcome.state_id for failure in found] == ["a", "e", "d"]
    assert [failure.share for failure in found] == [2 / 3, 1.0, 1 / 3]


def test_failures_on_known_things_the_expert_can_do_come_first() -> None:
    cells = [
        cell("left", ("far/a", False, 60, LATE), split="far"),
        cell("left", ("a", False, 50, LATE), ("b", False, 20, LATE), ("c", False, 20, LATE)),
        cell("left", ("a", False, 60, ""), ("b", True, 9, ""), control="expert"),
    ]
    found = worst(cells, count=9)
    assert [(failure.outcome.state_id, failure.expert) for failure in found] == [
        ("b", True),
        ("c", None),
        ("a", False),
        ("far/a", None),
    ]


def test_failures_do_not_depend_on_the_order_of_episodes() -> None:
    ends = [(str(number), False, 10, LATE) for number in range(6)]
    assert worst([cell("left", *ends)]) == worst([cell("left", *ends[::-1])])


def test_controls_and_successes_are_no_failures() -> None:
    assert worst([cell("left", ("a", True, 5, "")), cell("left", ("b", False, 5, LATE), control="wrong")]) == ()

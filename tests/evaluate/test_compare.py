from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sinew.core.errors import DataError
from sinew.evaluate.compare import compare, compared_lines
from sinew.evaluate.success import Cell


def test_counts_are_taken_state_by_state(make_cell: Callable[..., Cell]) -> None:
    first, second = make_cell(6, 10), make_cell(4, 10)
    shuffled = replace(second, outcomes=second.outcomes[::-1])
    left, everything = compare([first], [shuffled])
    assert (left.both, left.only_first, left.only_second, left.neither) == (4, 2, 0, 4)
    assert left.difference == pytest.approx(0.2)
    assert (left.task, everything.task, everything.n) == ("left", "all", 10)


def test_neither_is_called_better_while_the_interval_holds_zero(make_cell: Callable[..., Cell]) -> None:
    (left, _) = compare([make_cell(6, 10)], [make_cell(4, 10)])
    assert left.low < 0 < left.high
    assert left.better is None
    assert "no difference shown" in str(left)


def test_a_clear_difference_names_the_better_one(make_cell: Callable[..., Cell]) -> None:
    good, bad = [make_cell(95, 100)], [make_cell(40, 100)]
    assert [one.better for one in compare(good, bad)] == ["first", "first"]
    assert [one.better for one in compare(bad, good)] == ["second", "second"]
    assert "+55.0 points" in str(compare(good, bad)[0])


def test_lines_name_both_once_and_say_all_only_of_several_tasks(make_cell: Callable[..., Cell]) -> None:
    good, bad = [make_cell(95, 100)], [make_cell(40, 100)]
    header, only = compared_lines("runs/a", "runs/b", compare(good, bad))
    assert header == "runs/a (the first) against runs/b (the second); + means that the first is ahead"
    assert only.startswith("left (seen): +55.0 points")
    more = compare([*good, make_cell(3, 3, task="right")], [*bad, make_cell(3, 3, task="right")])
    lines = compared_lines("runs/a", "runs/b", more)
    assert [line.split(" (seen)")[0] for line in lines[1:]] == ["left", "right", "all"]


def test_only_shared_states_count_and_controls_do_not(make_cell: Callable[..., Cell]) -> None:
    first = [make_cell(6, 10), make_cell(3, 3, task="right"), make_cell(5, 5, control="wrong")]
    second = [make_cell(6, 20), make_cell(0, 5, control="wrong")]
    assert [(one.task, one.n) for one in compare(first, second)] == [("left", 10), ("all", 10)]


def test_nothing_in_common_is_an_error(make_cell: Callable[..., Cell]) -> None:
    with pytest.raises(DataError, match="no initial state in common"):
        compare([make_cell(6, 10)], [make_cell(6, 10, split="far")])

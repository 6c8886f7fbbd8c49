from __future__ import annotations

from collections.abc import Callable

from sinew.evaluate.checks import Check, checks, too_low
from sinew.evaluate.rates import rates
from sinew.evaluate.success import Cell


def failed(*runs: list[Cell]) -> set[tuple[str, str]]:
    return {(check.what, check.task) for check in checks(rates(runs)) if not check.ok}


def test_a_policy_that_follows_language_passes_every_check(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(98, 100), make_cell(47, 50, control="other")]
    cells += [make_cell(1, 50, control=control) for control in ("wrong", "silent", "blank", "random")]
    assert failed(cells) == set()
    assert len(checks(rates([cells]))) == 1 + 2 * (1 + 3 * 2 + 1)


def test_a_policy_deaf_to_the_instruction_is_found_out(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(98, 100), make_cell(40, 50, control="other"), make_cell(20, 50, control="wrong")]
    assert failed([*cells, make_cell(1, 50, control="random")]) == {
        (what, task)
        for what in ("other goal named", "wrong: above chance", "wrong: upper bound")
        for task in ("left", "all")
    }


def test_a_weak_policy_is_not_held_against_a_gap_that_nothing_can_keep(make_cell: Callable[..., Cell]) -> None:
    weak = rates([[make_cell(30, 100), make_cell(1, 50, control="wrong"), make_cell(1, 50, control="random")]])
    assert {check.what for check in checks(weak)} == {"success on seen states", "wrong: above chance"}
    assert too_low(weak).startswith("The success rate on seen states is too low to judge controls")
    assert "(left, all)" in too_low(weak)
    assert not too_low(rates([[make_cell(98, 100), make_cell(1, 50, control="wrong")]]))
    assert not too_low(rates([[make_cell(30, 100)]]))


def test_doing_less_than_chance_is_no_fault(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(98, 100), make_cell(0, 50, control="wrong"), make_cell(10, 50, control="random")]
    assert ("wrong: above chance", "left") not in failed(cells)


def test_one_bad_seed_is_found_among_good_ones(make_cell: Callable[..., Cell]) -> None:
    runs = [[make_cell(100, 100)], [make_cell(100, 100)], [make_cell(89, 100)]]
    assert failed(*runs) == {("success of the worst seed", "left")}


def test_reaching_a_bar_exactly_is_enough() -> None:
    assert Check("", "", 0.92, 0.97 - 0.05, at_least=True).ok
    assert Check("", "", 0.15, 0.1 + 0.05, at_least=False).ok
    assert not Check("", "", 0.94, 0.95, at_least=True).ok

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from sinew.evaluate.plan import CONTROLS
from sinew.evaluate.rates import Rate, rates
from sinew.evaluate.success import Cell
from sinew.evaluate.tables import interval, latex_row, table, to_csv


def printed(measured: tuple[Rate, ...]) -> list[str]:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(table(measured))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def full(make_cell: Callable[..., Cell]) -> list[Cell]:
    cells = [make_cell(100, 100), make_cell(95, 100, task="overtake"), make_cell(17, 20, split="far")]
    return cells + [make_cell(49, 50, control=control) for control in CONTROLS]


def test_the_table_shows_rate_interval_and_controls_in_80_columns(make_cell: Callable[..., Cell]) -> None:
    lines = printed(rates([full(make_cell)]))
    overtake = next(line for line in lines if line.startswith("overtake"))
    assert overtake.split() == ["overtake", "100", "95", "88-98", "-", "-", "-", "-", "-", "-"]
    left = next(line for line in lines if line.startswith("left"))
    assert left.split() == ["left", "100", "100", "96-100", *["98"] * 6]
    far = next(line for line in lines if line.startswith("far"))
    assert far.split()[:3] == ["far", "20", "85"]
    assert "left 85 (17/20)" in far


def test_several_seeds_fit_in_80_columns_too(make_cell: Callable[..., Cell]) -> None:
    lines = printed(rates([full(make_cell)] * 3))
    assert any("3 training seeds" in line for line in lines)
    overtake = next(line for line in lines if line.startswith("overtake"))
    assert overtake.split()[:5] == ["overtake", "300", "95", "90-99", "95"]
    assert max(map(len, lines)) <= 80


def test_a_single_failure_does_not_vanish_in_rounding(make_cell: Callable[..., Cell]) -> None:
    (rate, _) = rates([[make_cell(999, 1000)]])
    assert " 99 " in next(line for line in printed((rate,)) if line.startswith("left"))
    assert interval(rate) == "99-100"


def test_csv_has_a_line_per_rate(make_cell: Callable[..., Cell]) -> None:
    lines = to_csv(rates([[make_cell(9, 10)]])).splitlines()
    assert lines[0].startswith("split,task,control,successes,n,rate,low,high")
    assert lines[1] == "seen,left,none,9,10,0.9000,0.5958,0.9821,1,0.9000"
    assert len(lines) == 3


def test_latex_row_is_escaped(make_cell: Callable[..., Cell]) -> None:
    row = latex_row("ours_50%", rates([[make_cell(9, 10)]]))
    cell = r"90.0 {\scriptsize [59.6, 98.2]}"
    assert row == rf"ours\_50\% & {cell} & {cell} \\"

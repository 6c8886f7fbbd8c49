"""Success rates as a table for the terminal, as CSV and as a row of LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sinew.evaluate.plan import CONTROLS
from sinew.evaluate.rates import ALL, Rate, find

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def table(measured: Sequence[Rate]) -> Group:
    """Return what a terminal shows: each task on seen states with its controls, then the other splits.

    Args:
        measured: from ``Evaluation.rates`` or ``pool_runs``; at 80 columns it still reads well.
    """
    from rich.console import Group

    parts = [_tasks(measured)]
    if any(rate.split != "seen" for rate in measured):
        parts.append(_splits(measured))
    return Group(*parts)


def to_csv(measured: Sequence[Rate]) -> str:
    """Return one line per rate, with a header."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["split", "task", "control", "successes", "n", "rate", "low", "high", "seeds", "lowest"])
    for rate in measured:
        numbers = [f"{value:.4f}" for value in (rate.rate, rate.low, rate.high)]
        writer.writerow([
            rate.split, rate.task, rate.control, rate.successes, rate.n, *numbers, rate.seeds, f"{rate.lowest:.4f}",
        ])  # fmt: skip
    return file.getvalue()


def latex_row(name: str, measured: Sequence[Rate]) -> str:
    r"""Return ``name & 98.0 {\scriptsize [94.2, 99.3]} & ... \\``, one column per task on seen states, then all.

    Args:
        name: first column; LaTeX's special characters are escaped.
        measured: from ``Evaluation.rates`` or ``pool_runs``.
    """
    seen = [rate for rate in measured if (rate.split, rate.control) == ("seen", "none")]
    cells = [rf"{100 * rate.rate:.1f} {{\scriptsize [{100 * rate.low:.1f}, {100 * rate.high:.1f}]}}" for rate in seen]
    escaped = "".join(rf"\{letter}" if letter in "&%$#_{}" else letter for letter in name)
    return " & ".join([escaped, *cells]) + r" \\"


def interval(rate: Rate) -> str:
    """Return the interval in per cent, such as ``94-100``; rounded outwards, so that it never looks narrower."""
    return f"{math.floor(100 * rate.low + 1e-9)}-{math.ceil(100 * rate.high - 1e-9)}"


def _tasks(measured: Sequence[Rate]) -> Table:
    seen = [rate for rate in measured if (rate.split, rate.control) == ("seen", "none")]
    seeds = max((rate.seeds for rate in seen), default=1)
    controls = [control for control in CONTROLS if any(rate.control == control for rate in measured)]
    result = _new(f"Success on states never trained on, %{_of(seeds)}", "skill", gap=1 if seeds == 1 else 0)
    for name in ("n", "rate", "95 %", *(["worst"] if seeds > 1 else []), *controls):
        result.add_column(name, justify="right", no_wrap=True)
    for rate in seen:
        if rate.task == ALL:
            result.add_section()
        worst = [_percent(rate.lowest)] if seeds > 1 else []
        against = [find(measured, rate.task, control=control) for control in controls]
        cells = ["-" if one is None else _percent(one.rate) for one in against]
        result.add_row(rate.task, str(rate.n), _percent(rate.rate), interval(rate), *worst, *cells)
    if controls:
        counts = sorted({rate.n for rate in measured if rate.control != "none" and rate.task != ALL})
        result.caption = (
            f"controls: n = {' or '.join(map(str, counts))} per skill; other must succeed, "
            "wrong, silent and blank must not; random is chance, expert the ceiling"
        )
    return result


def _splits(measured: Sequence[Rate]) -> Table:
    tasks = [rate for rate in measured if rate.control == "none" and rate.task != ALL]
    result = _new("Success by split, %, all skills together", "split")
    for name in ("n", "rate", "95 %", "weakest skill"):
        result.add_column(name, justify="right", no_wrap=True)
    for rate in measured:
        if rate.task == ALL and rate.control == "none":
            weakest = min((task for task in tasks if task.split == rate.split), key=lambda task: task.rate)
            weak = f"{weakest.task} {_percent(weakest.rate)} ({weakest.successes}/{weakest.n})"
            result.add_row(rate.split, str(rate.n), _percent(rate.rate), interval(rate), weak)
    return result


def _new(title: str, first: str, *, gap: int = 1) -> Table:
    from rich import box
    from rich.table import Table

    result = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False)
    result.title_justify = result.caption_justify = "left"
    result.add_column(first, overflow="fold")
    return result


def _of(seeds: int) -> str:
    return f", {seeds} training seeds" if seeds > 1 else ""


def _percent(rate: float) -> str:
    """Round to whole per cent, but write neither 0 nor 100 where it is not exactly that."""
    return f"{100 * rate:.0f}" if rate in (0, 1) else f"{min(max(100 * rate, 1), 99):.0f}"

"""Measures what the first run promises: success, controls, ablations, speed, and survival of kill -9.

    python benchmarks/first_run.py                      everything; hours, but finished cells are found on disk
    python benchmarks/first_run.py --quick              what fits in five minutes; learning only where it is on disk
    python benchmarks/first_run.py --only success       rows whose group holds the word
    python benchmarks/first_run.py --json OUT           also write them; rows not measured now keep their old values

Learning cells are ordinary runs under ``runs/first_run``; the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from first_run_parts.learning import ablation_rows, success_rows
from first_run_parts.speed import (
    demonstration_rows,
    evaluation_rows,
    kill_rows,
    light_rows,
    test_rows,
    time_rows,
    update_rows,
)
from rows import Row, asked, measure

GROUPS: dict[str, Callable[..., list[Row]]] = {
    "success": success_rows,
    "ablation": ablation_rows,
    "time": time_rows,
    "evaluation": evaluation_rows,
    "demonstrations": demonstration_rows,
    "update": update_rows,
    "kill": kill_rows,
    "light": light_rows,
    "tests": test_rows,
}
QUICK = ("success", "ablation", "time", "evaluation", "demonstrations", "update", "light", "tests")


def main() -> None:
    """Measure, print a Markdown table, write JSON."""
    options = asked(__doc__)
    chosen = {
        name: partial(rows, learn=not options.quick)
        for name, rows in GROUPS.items()
        if options.only in name and (not options.quick or name in QUICK)
    }
    measure(chosen, tuple(GROUPS), options.json)


if __name__ == "__main__":
    main()

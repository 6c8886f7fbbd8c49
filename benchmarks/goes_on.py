"""Measures how a checkpoint goes on: own recordings, RL, export, server, shield, robot loop, and playing with it.

python benchmarks/goes_on.py                      everything; hours, but finished cells are found on disk
python benchmarks/goes_on.py --quick              what fits in a few minutes; learning only where it is on disk
python benchmarks/goes_on.py --only shield        rows whose group holds the word
python benchmarks/goes_on.py --json OUT           also write them; rows not measured now keep their old values

Learning cells lie under ``runs/goes_on``.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial
from pathlib import Path

from rows import Row, measure

GROUPS = ("own_data", "labels", "grpo", "onnx", "serve", "shield", "robot_loop", "play")
"""Modules of ``goes_on_parts``; each has ``rows(quick)``."""


def rows_of(group: str, *, quick: bool) -> list[Row]:
    """Return what a group measures."""
    return list(importlib.import_module(f"goes_on_parts.{group}").rows(quick))


def main() -> None:
    """Measure, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = {name: partial(rows_of, name, quick=options.quick) for name in GROUPS if options.only in name}
    measure(chosen, GROUPS, options.json)


if __name__ == "__main__":
    main()

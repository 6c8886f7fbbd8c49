"""Measures the training engine: the loop, many processes, what is foretold before a run, and its diagnoses.

python benchmarks/engine.py                      everything
python benchmarks/engine.py --quick              what fits in a few minutes
python benchmarks/engine.py --only loop          rows whose group holds the word
python benchmarks/engine.py --json OUT           also write them; rows not measured now keep their old values

A group is a module of ``engine_parts`` that has ``rows(quick)``.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial
from pathlib import Path

from rows import Row, measure

GROUPS = ("loop", "trainers", "kills", "distributed", "preflight", "diagnose")
"""In the order of the table; one that is not there yet has no rows."""
PARTS = Path(__file__).parent / "engine_parts"


def rows_of(group: str, *, quick: bool) -> list[Row]:
    """Return what a group measures."""
    return list(importlib.import_module(f"engine_parts.{group}").rows(quick))


def main() -> None:
    """Measure, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    groups = tuple(name for name in GROUPS if (PARTS / f"{name}.py").exists())
    chosen = {name: partial(rows_of, name, quick=options.quick) for name in groups if options.only in name}
    measure(chosen, groups, options.json)


if __name__ == "__main__":
    main()

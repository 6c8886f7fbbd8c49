"""Measures the models: combinations of parts, heads, stages of a vision-language model, and what a step costs.

python benchmarks/models.py                    everything
python benchmarks/models.py --quick            what fits in a few minutes
python benchmarks/models.py --only matrix      rows whose group holds the word
python benchmarks/models.py --json OUT         also write them; rows not measured now keep their old values
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial
from pathlib import Path

from rows import Row, measure

GROUPS: tuple[str, ...] = ("matrix", "step", "vqa", "modes", "heads")
"""Modules of ``models_parts``; each has ``rows(quick)``."""


def rows_of(group: str, *, quick: bool) -> list[Row]:
    """Return what a group measures."""
    return list(importlib.import_module(f"models_parts.{group}").rows(quick))


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

"""What every benchmark script shares: the rows of its table, and the JSON they are kept in."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        what: was measured. value: or None when it was not run. unit: of value and interval.
        bar: that it is held against, in words. ok: whether it is reached; None when there is no bar.
        n: trials. low, high: of the interval. seeds: listed. command: that measures it again.
        note: what one must know to read it.
    """

    what: str
    value: float | None
    unit: str
    bar: str = ""
    ok: bool | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    seeds: str = ""
    command: str = ""
    note: str = ""

    def record(self, commit: str) -> dict[str, Any]:
        """Return the row as JSON values; ``state`` is met, missed, reported or not run."""
        state = "not run" if self.value is None else {True: "met", False: "missed", None: "reported"}[self.ok]
        return {**dataclasses.asdict(self), "state": state, "commit": commit}


def asked(description: str | None) -> argparse.Namespace:
    """Return what the command line asks of a script: ``quick``, ``only`` and ``json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def drive(description: str | None, package: str, groups: tuple[str, ...]) -> None:
    """Do what the command line asks of a script whose groups are modules, each with ``rows(quick)``.

    Args:
        description: of the script.
        package: that holds the modules.
        groups: their names, in the order of the table.
    """
    options = asked(description)
    chosen = {name: partial(_rows_of, f"{package}.{name}", options.quick) for name in groups if options.only in name}
    measure(chosen, groups, options.json)


def _rows_of(module: str, quick: bool) -> list[Row]:  # noqa: FBT001  (the signature that all parts share)
    return list(importlib.import_module(module).rows(quick))


def measure(groups: Mapping[str, Callable[[], list[Row]]], every: tuple[str, ...], out: Path | None) -> None:
    """Measure the groups, print a Markdown table and, with ``out``, keep the rows there.

    Args:
        groups: what to measure now, by name.
        every: names of all groups in their order; those not measured now keep the rows that ``out`` holds.
        out: JSON file.
    """
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    old = json.loads(out.read_text()).get("groups", {}) if out and out.exists() else {}
    kept: dict[str, list[dict[str, Any]]] = {}
    for name in every:
        if name in groups:
            kept[name] = [row.record(commit) for row in groups[name]()]
            write(kept, {**old, **kept}, every, out)
        elif name in old:
            kept[name] = old[name]
    for row in (row for group in kept.values() for row in group):
        interval = "" if row["low"] is None else f" [{row['low']}, {row['high']}]"
        print(f"| {row['what']} | {row['value']} {row['unit']}{interval} | {row['bar']} | {row['state']} |")


def write(
    measured: Mapping[str, Any], groups: Mapping[str, list[dict[str, Any]]], every: tuple[str, ...], out: Path | None
) -> None:
    """Keep what is measured so far; hours of work must not hang on the last group."""
    if out is None or not measured:
        return
    ordered = {name: groups[name] for name in every if name in groups}
    content = {
        "rows": [row for group in ordered.values() for row in group],
        "groups": ordered,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> str:
    """Return the machine in a few words."""
    from sinew.core.machine import inspect_machine

    found = inspect_machine(ROOT)
    return (
        f"{found.cores} CPU cores, {found.memory / 2**30:.0f} GiB, {', '.join(found.gpus) or 'no GPU'}, {found.system}"
    )


def versions() -> str:
    """Return the versions that matter."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "mujoco", "numpy"))

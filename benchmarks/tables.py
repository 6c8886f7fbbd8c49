"""Writes the figures of ``benchmarks/results/*.json`` into README and docs, between their markers.

A marker ``<!-- table:NAME -->`` is followed by the table of ``benchmarks/results/NAME.json`` and ``<!-- end -->``;
``table:NAME/GROUP`` takes one group of its rows.
With ``--check`` nothing is written and a difference is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table:(\w+(?:/\w+)?) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(argv: list[str]) -> int:
    """Update every page; return 1 when ``--check`` finds one that differs."""
    if set(argv) - {"--check"}:
        print("usage: python benchmarks/tables.py [--check]", file=sys.stderr)
        return 2
    stale = [page for page in pages() if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in stale:
        if "--check" in argv:
            print(
                f"{page.relative_to(ROOT)}: its table differs from benchmarks/results. Run: make docs", file=sys.stderr
            )
        else:
            page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: updated")
    return 1 if stale and "--check" in argv else 0


def pages() -> list[Path]:
    """Return the Markdown files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """Return a page with its tables made from the results."""
    return BLOCK.sub(lambda match: f"{match[1]}{table(match[2])}{match[3]}", text)


def table(name: str) -> str:
    """Return the table of one benchmark, or of a group of it, as Markdown; under it command, machine and date."""
    name, _, group = name.partition("/")
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = content.get("groups", {}).get(group) if group else content.get("rows")
    if rows is None:
        return f"Not measured yet: `python benchmarks/{name}.py`\n"
    lines = ["| what | measured | bar | n | seeds | |", "|---|---|---|---|---|---|"]
    lines += [line_of(row) for row in rows]
    where = ", ".join(str(content[key]) for key in ("machine", "date", "versions") if content.get(key))
    commands = sorted({row["command"] for row in rows if row.get("command")})
    return "\n".join([*lines, "", f"{where or 'Machine not recorded'}. Command: `{'`, `'.join(commands)}`", ""])


def line_of(row: dict[str, Any]) -> str:
    """Return one row: value with its interval, bar, sample, and whether the bar was met."""
    value = "not run" if row.get("value") is None else f"{number(row['value'])} {row.get('unit', '')}".strip()
    if row.get("low") is not None and row.get("high") is not None:
        value += f" [{number(row['low'])}, {number(row['high'])}]"
    bar = "" if row.get("bar") is None else number(row["bar"])
    cells = [row["what"], value, bar, row.get("n") or "", row.get("seeds") or "", row.get("state", "")]
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def number(value: object) -> str:
    """Return a number with four digits at most, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

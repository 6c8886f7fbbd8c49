"""Says of a run, running or finished, what its record shows to be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sinew.core import config as configs
from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.core.rundir import RunDir
from sinew.engine.diagnose import SIGNS, diagnose
from sinew.engine.evidence import Evidence
from sinew.engine.findings import Finding, told
from sinew.engine.incidents import happened
from sinew.engine.signs.pace import verdict
from sinew.engine.track import Row, read_rows
from sinew.evaluate.rates import ALL, Rate


def findings(path: Path) -> tuple[Finding, ...]:
    """Print what is wrong with a run, and return it.

    Raises:
        CheckpointError: there is no record of a training.
    """
    from sinew.run.screen import say

    rows = record(path)
    found = diagnose(rows)
    for line in lines(rows, found):
        say(line)
    return found


def what_happened(rundir: RunDir) -> dict[str, dict[str, str]]:
    """Return what a run's record shows to be wrong with it, and its incidents, as a report says facts."""
    rows = read_rows(rundir.metrics)
    found = {item.title: f"{item.evidence}. Likely: {item.cause}. Try: {item.remedy}" for item in diagnose(rows)}
    each = enumerate(happened(rundir.incidents, rows), 1)
    incidents = {f"{number}: {item.kind}, update {item.update}": item.text for number, item in each}
    return {"findings of sinew diagnose": found or {"none": ""}, "incidents": incidents or {"none": ""}}


def record(path: Path) -> list[Row]:
    """Return the rows of a run's metrics.jsonl, with its try-outs where an older version kept them apart.

    Raises:
        CheckpointError: there is no record of a training.
    """
    rundir = RunDir(path)
    if not rundir.metrics.exists():
        raise CheckpointError(
            f"{path}: has no metrics.jsonl, so nothing was trained there yet. Name the directory of a run (runs/...)."
        )
    rows = read_rows(rundir.metrics)
    tryouts = path / "tryouts.json"
    if tryouts.exists() and not any("trials" in row for row in rows):
        rows += [row for update, rates in read_json(tryouts).items() for row in _tried(int(update), rates)]
        rows.sort(key=lambda row: row["update"])
    return rows


def scores(rates: Sequence[Rate]) -> dict[str, float]:
    """Return success rates as columns of the log: "score" over all tasks, one a task, and how many episodes."""
    found: dict[str, float] = {}
    for rate in rates:
        if rate.task == ALL:
            found |= {"score": rate.rate, "trials": rate.n}
        else:
            found[f"score/{rate.task}"] = rate.rate
    return found


def lines(rows: Sequence[Row], found: Sequence[Finding]) -> Iterator[str]:
    """Yield what to print: the findings, what is over, and what sets the pace."""
    evidence = Evidence(rows)
    yield f"{len(rows)} rows up to update {evidence.update}, {len(SIGNS)} signs looked for"
    for finding in found:
        first, *rest = finding.lines
        yield ""
        yield first
        yield from (f"  {line}" for line in rest)
    now = {finding.key for finding in found}
    for finding in told(list(rows)):
        if finding.key not in now:
            yield ""
            yield f"over: {finding.title}, told after update {finding.update}: {finding.evidence}"
    yield ""
    pace = verdict(evidence)
    yield from [pace] if pace else []
    yield "Nothing is wrong that can be seen here." if not found else f"{len(found)} found. See docs/diagnostics.md."


def _tried(update: int, rates: Any) -> Iterator[Row]:  # noqa: ANN401  (a JSON value)
    if isinstance(rates, list):
        read = [configs.from_dict(Rate, rate, "tryouts.json") for rate in rates]
        yield {"update": update, **scores(read)}

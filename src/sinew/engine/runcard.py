"""The run card: a README.md in the run directory that says what, how, on what, at what risk, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from sinew.core.config import to_dict
from sinew.core.files import write_text
from sinew.core.machine import inspect_machine
from sinew.core.rundir import RunDir
from sinew.engine import checklist
from sinew.engine.diagnose import diagnose
from sinew.engine.distributed import world
from sinew.engine.findings import told
from sinew.engine.forecast import Cost, Forecast, milliseconds, size
from sinew.engine.incidents import happened
from sinew.engine.progress import clock
from sinew.engine.risks import Risk
from sinew.engine.track import Row, read_rows

RESULTS = "\n## Results\n"
GRADES = {
    "critical": "Critical: may end the run, or lose something",
    "high": "High: may spoil the result",
}


@dataclass(frozen=True)
class Plan:
    """What is known before the first update.

    Attributes:
        purpose: one sentence.
        command: the command line that started the run.
        config: the full configuration, any dataclass.
        forecast: what the run will take.
        data: counts by name, such as episodes and frames.
        risks: what may go wrong.
        stages: where there are some, of each its name, length, trained parameters, peak memory, and time of an update
            and in all.
    """

    purpose: str
    command: str
    config: Any
    forecast: Forecast
    data: Mapping[str, int | str] = field(default_factory=dict)
    risks: Sequence[Risk] = ()
    stages: Sequence[tuple[str, ...]] = ()


def start(rundir: RunDir, plan: Plan) -> None:
    """Write the card, before the first update; an older one, and its results, are replaced."""
    write_text(rundir.card, text(rundir, plan))


def text(rundir: RunDir, plan: Plan) -> str:
    """Return the card as Markdown, as far as it is known before the first update."""
    settings = list(_leaves(to_dict(plan.config)))
    known = checklist.before(plan.forecast, num_settings=len(settings), num_risks=len(plan.risks))
    parts = [
        f"# {rundir.path.name}\n\n{plan.purpose}\n",
        f"## Command\n\n```\n{plan.command}\n```\n\n{expected(plan.forecast)}\n",
        _section("Forecast", ("what", "foreseen"), forecast_rows(plan.forecast)),
        _section("Stages", ("stage", "updates", "trained", "peak memory", "an update", "in all"), plan.stages),
        f"## Risks\n\n{_risks(plan.risks)}",
        f"## Checklist\n\n{checklist.tick(checklist.blank(), known)}",
        _section("Data", ("what", "count"), plan.data.items()),
        _section("Data check", ("looked at",), ((line,) for line in plan.forecast.checked)),
        _section("Parameters", ("module", "trainable", "frozen"), _counts(plan.forecast)),
        _section("Configuration", ("setting", "value"), settings),
        _section("Machine", ("what", "value"), _machine(rundir)),
    ]
    return "\n".join(part for part in parts if part)


def during(rundir: RunDir) -> None:
    """Tick what the run shows so far; where there is no card, nothing happens."""
    if rundir.card.exists():
        rows = read_rows(rundir.metrics) if rundir.metrics.exists() else []
        card = rundir.card.read_text(encoding="utf-8")
        write_text(rundir.card, checklist.tick(card, checklist.during(rows, rundir.checkpoints)))


@contextmanager
def kept(rundir: RunDir) -> Generator[None]:
    """Tick what the run shows when the block is left, however it is left."""
    try:
        yield
    finally:
        if world().is_main:
            during(rundir)


def finish(
    rundir: RunDir,
    *,
    results: Mapping[str, Any],
    best_update: int | None,
    elapsed_s: float,
) -> None:
    """Add how it ended; calling it again replaces what it added before.

    Args:
        rundir: the run.
        results: values by name, ready to print.
        best_update: the update that ``checkpoints/best`` points to.
        elapsed_s: wall time of training [s].
    """
    during(rundir)
    card = rundir.card.read_text(encoding="utf-8").split(RESULTS)[0]
    best = (
        "none was tried out during training" if best_update is None else f"`checkpoints/best` is update {best_update}"
    )
    rows = read_rows(rundir.metrics)
    incidents = happened(rundir.incidents, rows)
    card = checklist.tick(card, checklist.after(best=best, num_results=len(results), incidents=incidents))
    table = _table(("what", "value"), results.items())
    ending = f"Best checkpoint: {best}. Training took {clock(elapsed_s)}."
    listed = _table(("update", "what", "in words"), ((item.update, item.kind, item.text) for item in incidents))
    parts = [f"{card}{RESULTS}", table, f"{ending}\n", "### Incidents\n", listed or "- none\n"]
    parts += ["### Findings\n", "".join(_findings(rows)) or "- none\n"]
    write_text(rundir.card, "\n".join(parts))


def _findings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what ``sinew diagnose`` says of these rows, as a list; then what it said on the way that is over."""
    now = diagnose(rows)
    for item in now:
        yield f"- **{item.title}**, update {item.update}: {item.evidence}\n"
        yield f"  - Likely cause: {item.cause}\n  - Remedy: {item.remedy}\n"
    keys = {item.key for item in now}
    for item in {item.key: item for item in told(list(rows)) if item.key not in keys}.values():
        yield f"- over: {item.title}, told at update {item.update}: {item.evidence}\n"


def expected(forecast: Forecast) -> str:
    """Return how long it will take, in a sentence."""
    time = forecast.time
    if not time.update_s:
        return "Expected time: not measured; the line of progress tells it after the first updates."
    return f"Expected time: about {clock(time.total_s)}, {clock(time.training_s)} of it training."


def forecast_rows(forecast: Forecast) -> Iterator[tuple[str, str]]:
    """Yield what the run will take, as name and words."""
    memory, time, disk = forecast.memory, forecast.time, forecast.disk
    there = f" of {size(memory.available)} free" if memory.available else ""
    yield f"peak memory ({memory.device})", f"{size(memory.needed)}{there}"
    yield "of it weights", size(memory.weights)
    yield "of it moments and averages", size(memory.kept)
    tried = "" if memory.measured_rows == memory.rows else f", extrapolated from {memory.measured_rows}"
    yield "of it an update and two batches", f"{size(memory.step + 2 * memory.batch)} for {memory.rows} rows{tried}"
    if time.update_s:
        yield from _time_rows(forecast)
    for name, count in disk.needed.items():
        yield f"disk, {name}", f"at most {size(count)}"
    yield "disk, free", size(disk.free)
    yield from _cost_rows(forecast.cost, time.total_s)


def _time_rows(forecast: Forecast) -> Iterator[tuple[str, str]]:
    time = forecast.time
    if time.before_s:
        yield "time before training", clock(time.before_s)
    share = 100 * time.data_s / time.update_s
    yield "time of an update", f"{milliseconds(time.update_s)}, {share:.0f} % of it making the batch"
    yield f"time of {time.updates} updates", clock(time.updates * time.update_s)
    for what, (count, seconds) in time.by_kind().items():
        yield f"time of {count} {what}", clock(seconds)
    if time.after_s:
        yield "time of the evaluation", clock(time.after_s)
    if forecast.flops:
        yield "operations of an update", f"{forecast.flops / 1e9:.3g} GFLOP"


def _cost_rows(cost: Cost, seconds: float) -> Iterator[tuple[str, str]]:
    energy, money = cost.energy_kwh(seconds), cost.money(seconds)
    if energy is None:
        yield "energy", "no rate known; --cost.watts gives one"
    else:
        yield "energy", f"{energy:.3g} kWh at {cost.watts:.0f} W ({cost.source})"
    if money is None:
        yield "cost", "no rate known; --cost.per-hour or --cost.per-kwh give one"
    else:
        yield "cost", f"{money:,.2f} {cost.currency}"


def _risks(risks: Sequence[Risk]) -> str:
    """Return the risks by grade; the two grades are always named."""
    blocks: list[str] = []
    for grade, title in GRADES.items():
        found = [
            f"- {risk.what}\n  - Mitigation: {risk.mitigation}\n  - Recovery: {risk.recovery}\n"
            for risk in risks
            if risk.grade == grade
        ]
        blocks.append(f"### {title}\n\n" + ("".join(found) or "- none found\n"))
    return "\n".join(blocks)


def _section(title: str, head: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401  (any iterable of tuples)
    table = _table(head, rows)
    return f"## {title}\n\n{table}" if table else ""


def _table(head: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401  (any iterable of tuples)
    """Return a Markdown table, or nothing without rows."""
    body = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if body else ""


def _counts(forecast: Forecast) -> Iterator[tuple[str, str, str]]:
    for name, trainable, frozen in forecast.parts:
        yield name, f"{trainable:,}", f"{frozen:,}"


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  (any JSON value)
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield f"`{prefix}`", json.dumps(tree)


def _machine(rundir: RunDir) -> Iterator[tuple[str, str]]:
    machine = inspect_machine(rundir.path)
    yield "system", machine.system
    yield "CPU cores", str(machine.cores)
    yield "torch threads", str(torch.get_num_threads())
    yield "memory", f"{machine.memory / 2**30:.1f} GiB"
    yield "disk free", f"{machine.disk_free / 2**30:.1f} GiB"
    yield "GPU", ", ".join(machine.gpus) or "none"
    yield "Python", machine.python
    yield "torch build", machine.torch_build
    for name, version in machine.packages.items():
        yield name, version or "not installed"

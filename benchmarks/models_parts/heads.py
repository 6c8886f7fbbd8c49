"""Every action head on the table-top: equal updates, success held against the best head's, cost against it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from first_run_parts.learning import RUNS as FIRST_RUNS
from first_run_parts.learning import SKILLS, cells
from rows import ROOT, Row

from sinew.evaluate import summary
from sinew.evaluate.rates import find
from sinew.evaluate.summary import pool_runs
from sinew.models.config import AnyHeadConfig, FlowHeadConfig, GaussianHeadConfig, MlpHeadConfig
from sinew.models.heads.config import AutoregressiveHeadConfig, BinsHeadConfig, DiffusionHeadConfig
from sinew.run import RunConfig, train
from sinew.run.parts import run_path

COMMAND = "python benchmarks/models.py --only heads"
RUNS = ROOT / "runs" / "models"
SEEDS = (0, 1, 2)
HEADS: dict[str, AnyHeadConfig] = {
    "mlp": MlpHeadConfig(),
    "gaussian": GaussianHeadConfig(),
    "gaussian, mixture of 4": GaussianHeadConfig(mixture=4),
    "flow": FlowHeadConfig(),
    "diffusion": DiffusionHeadConfig(),
    "autoregressive, values": AutoregressiveHeadConfig(),
    "autoregressive, fast": AutoregressiveHeadConfig(tokens="fast"),
    "bins": BinsHeadConfig(),
}
LENGTHS = {"bins": 1.3}
"""Updates of heads that get more than the others within the budget; 1 is half the preset's."""
SHARE, BUDGET = 0.8, 2.0


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a head; what is missing is trained, with ``quick`` it is left out."""
    found = {name: _cells(name, learn=not quick) for name in HEADS}
    rates = {name: pool_runs([cell.evaluation for cell in some]) for name, some in found.items() if some}
    success = {name: rate.rate for name, some in rates.items() if (rate := find(some, "all")) is not None}
    best = max(success, key=lambda name: success[name], default=None)
    for name, some in found.items():
        yield _row(name, some, rates, best, found)


def config_of(name: str) -> RunConfig:
    """Return the table-top's preset at half its updates, or at its own length, with that head."""
    half = cells()["half the updates, the preset, mlp head, 3 DAgger rounds"]
    loop = half.loop
    if name in LENGTHS:
        loop = dataclasses.replace(loop, updates=100 * round(LENGTHS[name] * loop.updates / 100))
    return dataclasses.replace(half, policy=dataclasses.replace(half.policy, head=HEADS[name]), loop=loop)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A finished run.

    Attributes:
        evaluation: of it. seconds: CPU time of training in the process itself. seed: of it.
        here: trained for this table, where other work may have shared the machine, and not for that of the first run.
    """

    evaluation: Any
    seconds: float
    seed: int
    here: bool


def _cells(name: str, *, learn: bool) -> list[Cell]:
    """Return the run of each seed, here or among those of the first run."""
    found: list[Cell] = []
    for seed in SEEDS:
        one = dataclasses.replace(config_of(name), seed=seed)
        places = [run_path(one, root) for root in (RUNS, FIRST_RUNS)]
        done = next((place for place in places if _finished(place)), None)
        if done is None and learn:
            done = places[0]
            train(one, root=RUNS, command=f"sinew train --config {done}/config.json")
        if done is not None:
            seconds = json.loads((done / "timings.json").read_text())["phases"]["train"]["cpu_s"]
            found.append(Cell(summary.load(done / "evaluation.json"), seconds, seed, done == places[0]))
    return found


def _finished(place: Path) -> bool:
    state = place / "state.json"
    return state.exists() and json.loads(state.read_text())["phase"] == "done"


def _cost(some: list[Cell], here: bool) -> float:  # noqa: FBT001
    """Return the mean seconds of the runs of that sitting, of all where it has none: a busy machine counts more."""
    alike = [cell.seconds for cell in some if cell.here == here] or [cell.seconds for cell in some]
    return sum(alike) / len(alike)


def _row(name: str, some: list[Cell], rates: dict[str, Any], best: str | None, found: dict[str, list[Cell]]) -> Row:
    what = f"table-top at half the updates, {name} head"
    if not some or best is None:
        return Row(what, None, "%", f">= {100 * SHARE:.0f} % of the best at <= {BUDGET:g}x its time", command=COMMAND)
    rate, top = find(rates[name], "all"), find(rates[best], "all")
    assert rate is not None
    assert top is not None
    here = any(cell.here for cell in some)
    cost, least = _cost(some, here), _cost(found[best], here)
    every = ", ".join(
        f"{skill} {100 * part.rate:.0f}" for skill in SKILLS if (part := find(rates[name], skill)) is not None
    )
    value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
    length = f"{LENGTHS[name]:g} times the updates of the others; " if name in LENGTHS else ""
    return Row(
        what,
        value,
        "%",
        f">= {100 * SHARE * top.rate:.1f} at <= {BUDGET * least:.0f} CPU-seconds of training",
        rate.rate >= SHARE * top.rate and cost <= BUDGET * least,
        rate.n,
        low,
        high,
        ", ".join(str(cell.seed) for cell in some),
        COMMAND,
        f"{every}; {length}{cost:.0f} CPU-seconds of training in the process itself; the best is {best}",
    )

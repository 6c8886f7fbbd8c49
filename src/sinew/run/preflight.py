"""What is foreseen of a run and of its data, before it begins."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sinew.core.launch import launched
from sinew.core.machine import free_disk
from sinew.core.rundir import RunDir
from sinew.data.config import IngestConfig
from sinew.data.dataset import open_unmasked
from sinew.data.quality.examine import examine_one
from sinew.data.quality.findings import REMEDIES, Finding
from sinew.data.stats import statistics
from sinew.data.store import Store
from sinew.engine import preflight, risks, runcard
from sinew.engine.distributed import by_itself, world
from sinew.engine.eta import Eta
from sinew.engine.forecast import Forecast
from sinew.engine.parallel import agreed
from sinew.engine.preflight import Waits, require_fit, require_states
from sinew.engine.progress import Progress
from sinew.engine.risks import Risk
from sinew.models.device import pick_device
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.recipes.config import DaggerConfig, GrpoConfig
from sinew.run.beginning import inherited
from sinew.run.screen import console, say

if TYPE_CHECKING:
    from sinew.core.types import Recipe, RobotSpec
    from sinew.run import RunConfig

LOOK_S = 2.0
"""That looking the data through may take; episodes are drawn evenly until then."""
MOST_LOOKED = 64
NARROW = 0.02
"""Share of its range that an action must use, or its bounds are doubted."""


@dataclass(frozen=True)
class Sheet:
    """What is known of the data.

    Attributes:
        counts: by name, for the card.
        checked: what was looked at, in sentences. risks: what they put at risk.
        before_s: recording that is still to be done [s]. disk: that it takes, by what it is [bytes].
    """

    counts: Mapping[str, int | str]
    checked: tuple[str, ...] = ()
    risks: tuple[Risk, ...] = ()
    before_s: float = 0.0
    disk: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Flight:
    """A run about to begin.

    Attributes:
        config: of the run. command: what was typed. purpose: one sentence.
        sheet: looks its data through.
        spec: of the robot.
        build: returns the recipe as the run builds it, in the directory given.
        waits: what it takes time for beside updates, given the recipe.
    """

    config: RunConfig
    command: str
    purpose: str
    sheet: Callable[[], Sheet]
    spec: RobotSpec
    build: Callable[[RunDir], Recipe[Any]]
    waits: Callable[[Recipe[Any]], Waits]


def plan(flight: Flight, rundir: RunDir) -> runcard.Plan:
    """Foresee a run; one that goes on keeps what was foreseen when it began, with what is free now.

    Raises:
        ConfigError: it cannot fit in memory.
    """
    config, sheet = flight.config, flight.sheet()
    found = preflight.load(rundir)
    if found is None:
        found = _foreseen(flight, rundir)
        found = dataclasses.replace(
            found,
            checked=sheet.checked,
            time=dataclasses.replace(found.time, before_s=sheet.before_s),
            disk=dataclasses.replace(found.disk, needed={**found.disk.needed, **sheet.disk}),
        )
    pieces = None if isinstance(config.recipe, GrpoConfig) else config.optim.accumulate or 1
    require_fit(found, batch_flag(config), pieces=pieces)
    found = dataclasses.replace(found, disk=dataclasses.replace(found.disk, free=free_disk(rundir.path)))
    return runcard.Plan(
        purpose=flight.purpose,
        command=flight.command,
        config=config,
        forecast=found,
        data=sheet.counts,
        risks=tuple(_risks(config, found, sheet, rundir)),
    )


def begin(flight: Flight, rundir: RunDir) -> Forecast | None:
    """Foresee a run, write its card, and say the gist of it; other ranks than the first leave that to it.

    Raises:
        ConfigError: it cannot fit in memory.
    """
    if not world().is_main:
        return None
    found = plan(flight, rundir)
    preflight.save(found.forecast, rundir)
    runcard.start(rundir, found)
    for text in gist(found):
        say(f"  {text}")
    say(f"  all of it: {rundir.card}")
    return found.forecast


def progress_of(config: RunConfig, foreseen: Forecast | None) -> Progress:
    """Return what shows a training, with what was foreseen of its stops and operations."""
    updates = config.loop.updates
    if foreseen is None or not foreseen.time.update_s:
        return Progress(updates, console=console)
    time = foreseen.time
    timer = Eta(updates, time.stops, update_s=time.update_s, paces=time.paces)
    return Progress(updates, console=console, timer=timer, flops=foreseen.flops, peak_flops=foreseen.peak_flops)


def _foreseen(flight: Flight, rundir: RunDir) -> Forecast:
    config = flight.config
    with by_itself() as processes:
        found = preflight.foresee(
            flight.build, config.loop, waits=lambda recipe, _: flight.waits(recipe), cost=config.cost, place=rundir.path
        )
    return found if processes == 1 else preflight.of_each(found, processes, agreed(launched(), config.optim.parallel))


def gist(found: runcard.Plan) -> Iterator[str]:
    """Yield what a run will take and what may go wrong, in a few lines."""
    yield runcard.expected(found.forecast)
    rows = dict(runcard.forecast_rows(found.forecast))
    yield from (f"Expected {name}: {rows[name]}." for name in rows if name.startswith("peak memory"))
    for risk in found.risks:
        yield f"{risk.grade}: {risk.what}"


def batch_flag(config: RunConfig) -> str:
    """Return the setting that says how many rows an update has."""
    if isinstance(config.recipe, GrpoConfig):
        return "recipe.scenes"
    return "recipe.inner.batch" if isinstance(config.recipe, DaggerConfig) else "recipe.batch"


def check_states(config: RunConfig, spec: RobotSpec) -> None:
    """Refuse a policy whose weights and moments alone exceed the memory, before anything is built or recorded.

    Raises:
        ConfigError: with what would fit.
    """
    count = sum(parameter.numel() for parameter in _imagined(config, spec).parameters())
    require_states(count, count, averaged=config.optim.ema > 0, device=pick_device(config.device))


def _imagined(config: RunConfig, spec: RobotSpec) -> VLAPolicy:
    """Return the policy without memory for its weights, and with next to no words."""
    with torch.device("meta"):
        tokenizer, blueprints = inherited(config.init, config.policy) or (train_tokenizer({"a"}), None)
        return VLAPolicy(config.policy, spec, tokenizer, blueprints)


def of_length(config: RunConfig, frames: int) -> Iterator[Risk]:
    """Yield what the length of the run puts at risk, given how much there is to learn from."""
    supervised = config.recipe.inner if isinstance(config.recipe, DaggerConfig) else config.recipe
    if isinstance(supervised, GrpoConfig):
        return
    epochs = config.loop.updates * supervised.batch / max(1, frames)
    if epochs < 1:
        yield Risk(
            "high",
            f"A short run: it sees {100 * epochs:.0f} % of the frames, and each of those once.",
            f"Raise --loop.updates; {round(config.loop.updates / epochs)} see every frame.",
            "Train again with more updates; what was recorded is used again.",
        )


def look_through(stores: Sequence[Store]) -> tuple[tuple[str, ...], tuple[Risk, ...]]:
    """Look at episodes of each store, drawn evenly, as ``sinew data validate`` does; say what was seen."""
    checked: list[str] = []
    doubts: list[Risk] = []
    for store in stores:
        looked, findings = _look(store)
        told = Counter(f"{item.severity} {item.kind}" for item in findings if item.severity != "note")
        words = ", ".join(f"{name} in {count}" for name, count in told.items()) or "no faults found"
        checked.append(f"{looked} of {store.num_episodes} episodes of {store.path.name} looked through: {words}")
        worst = {item.kind: item for item in findings if item.severity == "error"}
        doubts += [risks.doubt(f"In the data: {item.evidence}", REMEDIES[kind]) for kind, item in worst.items()]
        doubts += _spec_doubts(store)
    return tuple(checked), tuple(doubts)


def _look(store: Store) -> tuple[int, list[Finding]]:
    dataset = open_unmasked(store.path, IngestConfig())
    numbers = np.linspace(0, store.num_episodes - 1, min(MOST_LOOKED, store.num_episodes)).astype(int)
    findings: list[Finding] = []
    until = time.perf_counter() + LOOK_S
    for looked, number in enumerate(numbers.tolist(), 1):
        findings += examine_one(dataset, number)[0]
        if time.perf_counter() > until:
            return looked, findings
    return len(numbers), findings


def _spec_doubts(store: Store) -> Iterator[Risk]:
    """Yield doubts about what a store says of its robot, by looking at its actions."""
    spec, seen = store.spec, statistics([store], ())["action"]
    width = np.asarray(seen.high, np.float64) - np.asarray(seen.low, np.float64)
    still = [name for name, used in zip(spec.action, width.tolist(), strict=True) if used == 0]
    if still:
        yield risks.doubt(
            f"Spec: {', '.join(still)} of the actions never change, so nothing of them can be learned.",
            "Check that the recorder writes them; leave them out of the spec if the robot lacks them.",
        )
    share = width / np.maximum(np.asarray(spec.high) - np.asarray(spec.low), 1e-9)
    narrow = [name for name, used in zip(spec.action, share.tolist(), strict=True) if 0 < used < NARROW]
    if narrow:
        yield risks.doubt(
            f"Spec: {', '.join(narrow)} of the actions use less than {100 * NARROW:.0f} % of their range low .. high.",
            "Check the units of low and high in spec.json.",
        )


def _risks(config: RunConfig, found: Forecast, sheet: Sheet, rundir: RunDir) -> Iterator[Risk]:
    yield from risks.of_machine(found)
    yield from risks.of_overwriting(
        exists=rundir.metrics.exists(),
        keep=config.loop.keep,
        checkpoints=-(-config.loop.updates // max(1, config.loop.save_every)),
    )
    yield from sheet.risks

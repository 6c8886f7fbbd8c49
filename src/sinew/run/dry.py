"""A dry run: what a training would take, printed; nothing is trained, recorded or left behind."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sinew.core.errors import DataError
from sinew.core.machine import num_cores
from sinew.core.rundir import RunDir
from sinew.data.collect import collect
from sinew.data.stills import collect_stills
from sinew.data.store import Store
from sinew.engine import runcard
from sinew.engine.risks import of_data
from sinew.engine.workers import start_workers
from sinew.recipes.config import GrpoConfig
from sinew.run import cloning, embodying, improving, teaching, training
from sinew.run.bodies import Body, RecordedBody, WorldBody
from sinew.run.corpus import Corpus, gather, texts_of
from sinew.run.lessons import lessons
from sinew.run.parts import run_path, stills_path, store_path
from sinew.run.preflight import Flight, Sheet, check_states, of_length, plan
from sinew.run.recordings import Recorded
from sinew.run.screen import columns, console, heading, say
from sinew.run.stages import has_body

if TYPE_CHECKING:
    from sinew.run import RunConfig

SAMPLE = 24
"""Demonstrations that stand for those still to be recorded."""
STILLS = 200
"""Stills likewise."""
SCENES = 64
"""Scenes that stand for all those that are described and asked about."""


def dry_run(config: RunConfig, *, root: Path, command: str, recorded: Sequence[Recorded] | None) -> None:
    """Foresee a run and print what comes out.

    Args:
        config: of the run.
        root: directory that would hold it.
        command: what was typed.
        recorded: the recordings, for a run that learns from some.

    Raises:
        ConfigError: it cannot fit in memory, with what would.
    """
    rundir = RunDir(run_path(config, root))
    torch.set_num_threads(num_cores())
    with tempfile.TemporaryDirectory(prefix="sinew-dry-") as scratch, start_workers(config.workers) as pool:
        if has_body(config.stages):
            body, sheet = few_moves(config, Path(scratch), recorded, pool)
            found = embodying.foresee(config, rundir, body, few_texts(config, Path(scratch)), command=command)
            counts = body.counts if sheet is None else sheet.counts
            found = dataclasses.replace(found, data={**counts, **texts_to_come(config, found)})
        elif config.stages is not None:
            found = teaching.foresee(config, rundir, few_texts(config, Path(scratch)), command=command)
            found = dataclasses.replace(found, data=texts_to_come(config, found))
        else:
            found = plan(flight(config, root, Path(scratch), command, recorded, pool), rundir)
    show(found, rundir)


def flight(
    config: RunConfig, root: Path, scratch: Path, command: str, recorded: Sequence[Recorded] | None, pool: Executor
) -> Flight:
    """Return the run as it is to be foreseen; what its data lacks is sampled into ``scratch``."""
    if recorded is not None:
        known = lessons(config, recorded)
        check_states(config, known.spec)
        return cloning.flight(config, known, command)
    if isinstance(config.recipe, GrpoConfig):
        return improving.flight(config, command, pool)
    check_states(config, config.world.build(1).spec)
    data = _recorded_already(config, root)
    if data is not None:
        return training.flight(config, data, command, partial(training.sheet_of, config, data))
    data, sheet = sampled(config, scratch)
    return training.flight(config, data, command, lambda: sheet)


def few_moves(
    config: RunConfig, scratch: Path, recorded: Sequence[Recorded] | None, pool: Executor
) -> tuple[Body, Sheet | None]:
    """Return the robot with a sample of its demonstrations and what all would be, or with the recordings there are."""
    if recorded is not None:
        return RecordedBody(config, lessons(config, recorded)), None
    stores, sheet = sampled(config, scratch)
    return WorldBody(config, stores, pool), sheet


def texts_to_come(config: RunConfig, found: runcard.Plan) -> dict[str, int | str]:
    """Return how many conversations there will be, where only those of a few scenes were looked at."""
    texts = texts_of(config)
    own = bool(texts.captions or texts.instructions)
    return {
        role: found.data[role] if own else texts.scenes for role in ("captions", "instructions") if role in found.data
    }


def few_texts(config: RunConfig, scratch: Path) -> Corpus:
    """Return conversations about a few scenes of a world, in place of all; those of one's own are read in whole."""
    assert config.vlm is not None
    texts = texts_of(config)
    few = dataclasses.replace(config, texts=dataclasses.replace(texts, scenes=min(SCENES, texts.scenes)))
    return gather(few, scratch, teaching.image_size(config.vlm))


def sampled(config: RunConfig, scratch: Path) -> tuple[tuple[Store, ...], Sheet]:
    """Record a few demonstrations and stills, and return them with what all of them would be."""
    wanted, began = config.collect, time.perf_counter()
    few = dataclasses.replace(wanted, episodes=min(SAMPLE, wanted.episodes), group=4)
    stores = [collect(scratch / "sample", config.world, few, seed=config.seed)]
    factor = wanted.episodes / stores[0].num_episodes
    seconds = factor * (time.perf_counter() - began)
    taken = {"demonstrations": round(factor * _bytes_of(stores[0].path))}
    frames = round(factor * stores[0].num_frames)
    if wanted.stills:
        began = time.perf_counter()
        stores.append(collect_stills(scratch / "stills", config.world, min(STILLS, wanted.stills)))
        share = wanted.stills / stores[1].num_frames
        seconds += share * (time.perf_counter() - began)
        taken["stills"] = round(share * _bytes_of(stores[1].path))
    held_out = round(wanted.held_out * wanted.episodes)
    counts = {"episodes": wanted.episodes, "frames": f"about {frames}", "held-out episodes": f"about {held_out}"}
    said = f"{stores[0].num_episodes} demonstrations were recorded as a sample; {wanted.episodes} are to come"
    sheet = Sheet(
        {**counts, "stills": wanted.stills},
        (said,),
        (*of_data(wanted.episodes, held_out), *of_length(config, frames)),
        before_s=seconds / (config.workers or num_cores()),
        disk=taken,
    )
    return tuple(stores), sheet


def show(found: runcard.Plan, rundir: RunDir) -> None:
    """Print what was foreseen."""
    forecast = found.forecast
    heading(f"Dry run: {rundir.path.name}")
    say(f"  {found.purpose}")
    say(f"  {runcard.expected(forecast)}")
    columns(("forecast", ""), runcard.forecast_rows(forecast))
    columns(("data", ""), [*found.data.items(), *(("looked at", text) for text in forecast.checked)])
    counts = [(name, f"{one:,}", f"{two:,}") for name, one, two in forecast.parts]
    columns(("parameters", "trained", "frozen"), counts)
    if found.stages:
        columns(("stage", "updates", "trained", "peak memory", "an update", "in all"), found.stages)
    for risk in found.risks:
        console.print()
        console.print(f"  [bold]{risk.grade}[/bold]", highlight=False)
        columns(None, (("Risk", risk.what), ("Mitigation", risk.mitigation), ("Recovery", risk.recovery)))
    if not found.risks:
        say("\n  No risks were found.")
    say(f"\nNothing was trained and nothing written. Without --dry-run it would begin in {rundir.path}")


def _recorded_already(config: RunConfig, root: Path) -> tuple[Store, ...] | None:
    """Return the demonstrations and stills of a run, None unless all of them lie there."""
    places = [(store_path(config, root), config.collect.episodes), (stills_path(config, root), config.collect.stills)]
    stores: list[Store] = []
    for path, wanted in places:
        if not wanted:
            continue
        try:
            store = Store.open(path)
        except DataError:
            return None
        if store.num_episodes < wanted:
            return None
        stores.append(store)
    return tuple(stores)


def _bytes_of(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())

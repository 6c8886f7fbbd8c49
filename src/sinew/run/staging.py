"""What is foreseen of a run in stages: each stage is rehearsed on a model of its own, before the first begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import ConfigError, SinewError
from sinew.core.files import read_json, write_json
from sinew.core.machine import free_disk
from sinew.core.rundir import RunDir
from sinew.engine import preflight, risks, runcard
from sinew.engine.forecast import Disk, Forecast, Time, milliseconds, size
from sinew.engine.preflight import Waits
from sinew.engine.progress import clock
from sinew.run.preflight import gist
from sinew.run.screen import say
from sinew.run.stages import has_body

if TYPE_CHECKING:
    from sinew.core.types import Recipe
    from sinew.run import RunConfig
    from sinew.run.stages import Stage

FILE = "stages.json"


def plan(
    config: RunConfig,
    stages: Sequence[Stage],
    rundir: RunDir,
    *,
    command: str,
    data: Mapping[str, int | str],
    build: Callable[[int], Recipe[Any]],
    waits: Callable[[Recipe[Any]], Waits] | None = None,
) -> runcard.Plan:
    """Foresee a run in stages; one that goes on keeps what was foreseen when it began.

    Args:
        config: of the run.
        stages: of it.
        rundir: where the run is or would be.
        command: what was typed.
        data: counts by name.
        build: returns the recipe of a stage, given its number, on a model made for it.
        waits: what the whole run takes time for beside updates, given the recipe of its last stage; None for nothing.

    Raises:
        ConfigError: a stage cannot fit in memory, with what would.
    """
    found = _known(rundir, len(stages)) or _rehearsed(config, stages, rundir, build, waits)
    whole = _together(found, config, rundir)
    return runcard.Plan(
        purpose=f"{config.name}: a vision-language model, {_taught(stages)} in {len(stages)} stages.",
        command=command,
        config=config,
        forecast=whole,
        data=data,
        risks=(
            *risks.of_machine(whole),
            *risks.of_overwriting(
                exists=rundir.metrics.exists(),
                keep=config.loop.keep,
                checkpoints=-(-config.loop.updates // max(1, config.loop.save_every)),
            ),
        ),
        stages=tuple(_rows(stages, found)),
    )


def _taught(stages: Sequence[Stage]) -> str:
    return "taught and given a body" if has_body(tuple(stages)) else "taught"


def begin(planned: runcard.Plan, rundir: RunDir) -> Forecast:
    """Write the card of a run and say the gist of it."""
    runcard.start(rundir, planned)
    for text in gist(planned):
        say(f"  {text}")
    for name, *_, memory, _, taken in planned.stages:
        say(f"  stage {name}: {taken}, {memory}")
    say(f"  all of it: {rundir.card}")
    return planned.forecast


def _rehearsed(
    config: RunConfig,
    stages: Sequence[Stage],
    rundir: RunDir,
    build: Callable[[int], Recipe[Any]],
    waits: Callable[[Recipe[Any]], Waits] | None,
) -> list[Forecast]:
    found: list[Forecast] = []
    for number, stage in enumerate(stages):
        loop = dataclasses.replace(config.loop, updates=stage.updates)
        begun = config.loop.updates - stage.updates if number == len(stages) - 1 else None
        try:
            one = preflight.foresee(
                partial(_aside, build, number),
                loop,
                waits=partial(_waited, None if begun is None else waits, begun or 0),
                cost=config.cost,
                place=rundir.path,
            )
            preflight.require_fit(one, f"stages.{number}.recipe.batch")
        except ConfigError as error:
            raise ConfigError(f"stage {stage.name}: {error}") from error
        found.append(one)
    if rundir.path.exists():
        write_json(rundir.path / FILE, {"schema_version": 1, "stages": [to_dict(one) for one in found]})
    return found


def _aside(build: Callable[[int], Recipe[Any]], number: int, _place: RunDir) -> Recipe[Any]:
    """Return the recipe of a stage; it keeps nothing in the directory that a rehearsal has."""
    return build(number)


def _waited(waits: Callable[[Recipe[Any]], Waits] | None, begun: int, recipe: Recipe[Any], _place: RunDir) -> Waits:
    """Return what the run waits for, counted from the update at which its last stage begins."""
    if waits is None:
        return Waits()
    found = waits(recipe)
    stops = (dataclasses.replace(stop, update=stop.update - begun) for stop in found.stops)
    return dataclasses.replace(found, stops=tuple(stops))


def _known(rundir: RunDir, count: int) -> list[Forecast]:
    """Return what was foreseen when the run began, if it can be read."""
    path = rundir.path / FILE
    try:
        told = read_json(path)["stages"] if path.exists() else []
        found = [from_dict(Forecast, one, str(path)) for one in told]
    except (SinewError, KeyError, TypeError):
        return []  # of another version: it is foreseen again
    return found if len(found) == count else []


def _together(found: Sequence[Forecast], config: RunConfig, rundir: RunDir) -> Forecast:
    """Return the forecast of all stages: the memory of the largest, the time of all; operations differ by stage."""
    updates = sum(one.time.updates for one in found)
    worst = max(found, key=lambda one: one.memory.needed)
    checkpoints = max(one.disk.needed["checkpoints"] for one in found)
    begins = [sum(one.time.updates for one in found[:number]) for number in range(len(found))]
    stops = [
        dataclasses.replace(stop, update=stop.update + begun)
        for begun, one in zip(begins, found, strict=True)
        for stop in one.time.stops
    ]
    time = Time(
        updates=updates,
        update_s=sum(one.time.updates * one.time.update_s for one in found) / updates,
        data_s=sum(one.time.updates * one.time.data_s for one in found) / updates,
        stops=tuple(sorted(stops, key=lambda stop: stop.update)),
        after_s=sum(one.time.after_s for one in found),
        paces=tuple((begun, one.time.update_s) for begun, one in zip(begins, found, strict=True)),
    )
    disk = Disk({"checkpoints": checkpoints}, free_disk(rundir.path))
    return dataclasses.replace(worst, time=time, disk=disk, parts=found[-1].parts, flops=0.0)


def _rows(stages: Sequence[Stage], found: Sequence[Forecast]) -> Iterator[tuple[str, ...]]:
    for stage, one in zip(stages, found, strict=True):
        trained = sum(trainable for name, trainable, _ in one.parts if "." not in name)
        yield (
            stage.name,
            f"{stage.updates:,} of {stage.batch} rows",
            f"{trained:,} in {', '.join(stage.teaches)}",
            size(one.memory.needed),
            milliseconds(one.time.update_s) if one.time.update_s else "not measured",
            clock(one.time.training_s),
        )

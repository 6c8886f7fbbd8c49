"""Training from nothing to a report: collect, train, evaluate, report; each phase goes on where it stopped."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sinew.core.config import digest
from sinew.core.errors import ConfigError, TrainingError
from sinew.core.launch import launched
from sinew.core.rundir import RunDir
from sinew.data.augment import check_augment
from sinew.data.collect import collect
from sinew.data.config import MixConfig
from sinew.data.shares import Attention, shares, task_weights, weights_at
from sinew.data.stills import collect_stills
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine import runcard
from sinew.engine.checkpoint import unheard
from sinew.engine.distributed import in_turn, joined, world
from sinew.engine.progress import clock
from sinew.engine.risks import of_data
from sinew.engine.trackers import check_trackers
from sinew.engine.trainer import Trainer
from sinew.engine.workers import start_workers
from sinew.evaluate.film import FilmJob, film_job, hero_states
from sinew.models.device import pick_device
from sinew.recipes.config import BcConfig, GrpoConfig
from sinew.run.bodies import Body, RecordedBody, WorldBody
from sinew.run.clock import Clock
from sinew.run.cloning import clone, follow_recorded
from sinew.run.cloning import next_steps as cloned_next_steps
from sinew.run.embodying import check_embodied, embody
from sinew.run.embodying import next_steps as embodied_next_steps
from sinew.run.following import followed
from sinew.run.improving import improve
from sinew.run.lessons import lessons
from sinew.run.measuring import Tryout, measure
from sinew.run.parts import augment_of, build_policy, build_recipe, run_path, stills_path, store_path
from sinew.run.preflight import Flight, Sheet, begin, check_states, look_through, of_length, progress_of
from sinew.run.recordings import Recorded, data_of, read_in
from sinew.run.reporting import next_steps, pooled_report, write
from sinew.run.screen import console, counting, heading, say
from sinew.run.stages import has_body
from sinew.run.start import check_start
from sinew.run.teaching import check_stages, teach
from sinew.run.teaching import next_steps as taught_next_steps
from sinew.run.waits import of_world

if TYPE_CHECKING:
    from sinew.core.types import Recipe
    from sinew.run import RunConfig

UNTRAINED = ("collect", "train")
"""Phases of a run from which training is yet to come."""


def train_seeds(config: RunConfig, *, root: Path, command: str, seeds: int) -> tuple[Path, ...]:
    """Train one run per seed and, for several, report on all of them together."""
    check(config)
    with joined(pick_device(config.device)) as ranks:
        ranks.require_same("digest of the configuration", digest(config))
        return _train_seeds(config, root=root, command=command, seeds=seeds)


def _train_seeds(config: RunConfig, *, root: Path, command: str, seeds: int) -> tuple[Path, ...]:
    recorded = None
    if config.data is not None:
        config, recorded = in_turn(partial(read_in, config, root))
    configs = [dataclasses.replace(config, seed=config.seed + number) for number in range(seeds)]
    paths = tuple(train_one(one, root=root, command=command, alone=seeds == 1, recorded=recorded) for one in configs)
    acts = config.vlm is None or has_body(config.stages)
    if seeds > 1 and recorded is None and acts and world().is_main:
        pooled_report(paths, run_path(config, root).with_name(f"{run_path(config, root).name}-{seeds}-seeds"))
    return paths


def check(config: RunConfig) -> None:
    """Refuse settings that cannot work together, before anything is written.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    if config.vlm is not None:
        check_stages(config)
        if not has_body(config.stages):
            return
        check_embodied(config)
    check_start(config)
    check_trackers(config.track)
    if not 1 <= config.policy.execute <= config.policy.horizon:
        raise ConfigError(
            f"--policy.execute {config.policy.execute}: wanted 1 to {config.policy.horizon}, the --policy.horizon."
        )
    if config.loop.updates < 1 or config.policy.history < 1:
        raise ConfigError(
            f"--loop.updates {config.loop.updates}, --policy.history {config.policy.history}: both must be at least 1."
        )
    if not isinstance(config.recipe, GrpoConfig):
        check_augment(augment_of(config.recipe))
    elif config.optim.precision == "bf16":
        raise ConfigError(
            f"--optim.precision bf16: {config.recipe.kind} compares log-probabilities with those that were drawn, in "
            "fp32; halves would differ in the third digit. Leave it at fp32."
        )
    if config.env is None or config.data is not None:
        check_recorded(config)
    elif config.policy.grounding.weight:
        known, wanted = config.world.build(1).target_names, [name for name, _ in config.policy.grounding.points]
        if not set(wanted) <= set(known):
            raise ConfigError(
                f"--policy.grounding.points: {', '.join(wanted)} wanted, {config.world.kind} labels {', '.join(known)}."
            )


def check_recorded(config: RunConfig) -> None:
    """Refuse what cannot be done with recordings.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    data = data_of(config)
    if config.env is not None:
        raise ConfigError(
            f"--data {data.said}: {config.name} learns in its own world ({config.env.kind}). For recordings there is: "
            f"sinew train bc --data {data.sources[0].path}"
        )
    if not isinstance(config.recipe, BcConfig):
        raise ConfigError(f"--recipe.kind {config.recipe.kind}: needs a world; recordings are learned with bc.")
    if data.mix is not None:
        check_mix(data.mix)
    if not 0 < data.tolerance < 1:
        raise ConfigError(f"--data.tolerance {data.tolerance:g}: a share of an action's range, between 0 and 1.")


def check_mix(mix: MixConfig) -> None:
    """Refuse weights that cannot be drawn by, before hours are spent on reading data.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    ones = [1] * len(mix.sources)
    shares(ones, [source.weight for source in mix.sources], mix.temperature)
    if mix.stages:
        shares(ones, weights_at(np.linspace(0, 1, 1001), mix.stages), mix.temperature)
    Attention(power=mix.success_power)
    task_weights({}, mix.task_power)


def train_one(
    config: RunConfig, *, root: Path, command: str, alone: bool, recorded: Sequence[Recorded] | None = None
) -> Path:
    """Run one training to its end and return its directory; a finished one is only pointed to.

    Args:
        config: everything that determines the run.
        root: directory that holds runs.
        command: what was typed.
        alone: whether to look at a finished run as the answer, not as one of several.
        recorded: the recordings, for a run that learns from some.

    Raises:
        CheckpointError: another process works on it, or the directory is not a run's.
    """
    rundir = RunDir(run_path(config, root))
    if not world().is_main:
        _follow(config, rundir, root=root, recorded=recorded)
        return rundir.path
    if rundir.config.exists() and rundir.phase == "done":
        world().tell(rundir.phase)
        say(f"{rundir.path} is finished. Another seed: --seed {config.seed + 1}.")
        if alone:
            _say_what_next(config, rundir.path)
        return rundir.path
    with rundir:
        start = rundir.claim(config, may_differ=("workers", "track", "cost", "optim.parallel"))
        going_on = (
            f"Going on with {rundir.path} ({rundir.phase})." if start == "resume" else f"Run directory: {rundir.path}"
        )
        say(going_on)
        timer = Clock(rundir.path / "timings.json")
        torch.set_num_threads(launched().cores)
        if has_body(config.stages):
            with start_workers(config.workers) as pool:
                body = partial(body_of, config, root, pool, recorded)
                embody(config, rundir, body, root=root, command=command, timer=timer)
        elif config.vlm is not None:
            teach(config, rundir, root=root, command=command, timer=timer)
        elif recorded is not None:
            clone(config, rundir, recorded, command=command, timer=timer)
        else:
            with start_workers(config.workers) as pool:
                _phases(config, rundir, root=root, command=command, pool=pool, timer=timer)
    _say_what_next(config, rundir.path)
    return rundir.path


def _follow(config: RunConfig, rundir: RunDir, *, root: Path, recorded: Sequence[Recorded] | None) -> None:
    """Do the part of a run that every rank takes part in, its training; rank 0 does all the rest, before and after."""
    phase = world().tell("")
    if phase not in UNTRAINED:
        return
    if not rundir.config.exists():
        raise TrainingError(
            f"{rundir.path}: rank 0 writes there, and rank {world().rank} on {socket.gethostname()} sees nothing. "
            "Runs of several machines need a directory that all of them see: --out PLACE"
        )
    torch.set_num_threads(launched().cores)
    if recorded is not None:
        follow_recorded(config, rundir, recorded)
        return
    with start_workers(config.workers) as pool:
        if isinstance(config.recipe, GrpoConfig):
            improve(config, rundir, command="", pool=pool)
            return
        places = [store_path(config, root), *([stills_path(config, root)] if config.collect.stills else [])]
        data = tuple(Store.open(place) for place in places)
        train_phase(config, rundir, data, command="", pool=pool)


def _say_what_next(config: RunConfig, path: Path) -> None:
    if config.vlm is not None and not has_body(config.stages):
        taught_next_steps(path)
        return
    if config.data is None:
        next_steps(config, path)
    else:
        cloned_next_steps(config, path)
    embodied_next_steps(path)


def _phases(config: RunConfig, rundir: RunDir, *, root: Path, command: str, pool: Executor, timer: Clock) -> None:
    """Do what is left to do; what is done already is found on disk."""
    improves = isinstance(config.recipe, GrpoConfig)
    if not improves:
        check_states(config, config.world.build(1).spec)
    first_look(config, rundir, pool)
    data: tuple[Store, ...] = ()
    if not improves:
        with timer.phase("collect"):
            demonstrations = collect_phase(config, store_path(config, root), pool)
            data = (demonstrations, *stills_phase(config, stills_path(config, root), pool))
    if world().tell(rundir.phase) in UNTRAINED:
        rundir.enter("train")
        with timer.phase("train"):
            if improves:
                improve(config, rundir, command=command, pool=pool)
            else:
                train_phase(config, rundir, data, command=command, pool=pool)
        rundir.enter("evaluate")
    if rundir.phase == "evaluate":
        with timer.phase("evaluate"):
            measure(config, rundir, pool)
        rundir.enter("report")
    with timer.phase("report"):
        write(config, rundir, command=command, pool=pool, timer=timer)
    rundir.enter("done")


def body_of(config: RunConfig, root: Path, pool: Executor, recorded: Sequence[Recorded] | None) -> Body:
    """Return the robot that a model gets as its body, with what is recorded of it."""
    if recorded is not None:
        heading("Recordings")
        return RecordedBody(config, lessons(config, recorded))
    demonstrations = collect_phase(config, store_path(config, root), pool)
    return WorldBody(config, (demonstrations, *stills_phase(config, stills_path(config, root), pool)), pool)


def first_look(config: RunConfig, rundir: RunDir, pool: Executor) -> None:
    """Show the world at once: a picture in the terminal, and a film of the expert in the run directory."""
    world = config.world.build(1)
    state = hero_states(world, 1)[0]
    obs = world.reset([state])
    if console.is_terminal and console.color_system in ("256", "truecolor"):
        from sinew.evaluate.terminal import half_blocks

        console.print(half_blocks(world.picture(0, 256), min(64, console.width)))
        say(f'  "{obs.instruction[0]}"')
    path = rundir.videos / "expert.mp4"
    if not path.exists():
        film = pool.submit(film_job, FilmJob(config.world, "expert", (state,), path, size=480))
        film.add_done_callback(lambda _: say(f"  a first film, the scripted expert: {path}"))


def collect_phase(config: RunConfig, path: Path, pool: Executor) -> Store:
    """Record the demonstrations, or find them recorded."""
    heading("Demonstrations")
    with counting("episodes") as count:
        store = collect(path, config.world, config.collect, seed=config.seed, pool=pool, on_progress=count)
    say(f"  {store.num_episodes} episodes, {store.num_frames} frames in {path}")
    return store


def stills_phase(config: RunConfig, path: Path, pool: Executor) -> tuple[Store, ...]:
    """Record the stills, or find them recorded; none where none are wanted."""
    count = config.collect.stills
    if not count:
        return ()
    with counting("stills") as tell:
        store = collect_stills(path, config.world, count, pool=pool, on_progress=tell)
    say(f"  {store.num_frames} stills of further scenes in {path}")
    return (store,)


def train_phase(config: RunConfig, rundir: RunDir, data: tuple[Store, ...], *, command: str, pool: Executor) -> None:
    """Train to the end, trying the policy out on the way."""
    heading("Training")
    demonstrations = data[0]
    foreseen = begin(flight(config, data, command, partial(sheet_of, config, data)), rundir)
    with progress_of(config, foreseen) as progress, runcard.kept(rundir), followed(config, rundir, progress) as on_log:
        recipe = build_recipe(config, build_policy(config, demonstrations), data, rundir, pool=pool, note=progress.note)
        shape = config.policy
        training, held_out = (
            Windows([demonstrations], history=shape.history, horizon=shape.horizon, held_out=kept).remembering(
                shape.num_previous
            )
            for kept in (False, True)
        )
        tryout = Tryout(config, rundir, recipe, pool=pool, note=progress.note, training=training, held_out=held_out)
        trainer = Trainer(
            recipe, config.loop, rundir, seed=config.seed, on_eval=tryout, on_log=on_log, on_note=progress.note
        )
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {clock(state.elapsed_s)}")


def flight(config: RunConfig, data: tuple[Store, ...], command: str, sheet: Callable[[], Sheet]) -> Flight:
    """Return the run as it is to be foreseen; with the settings of a run and data like its own."""
    demonstrations = data[0]

    def build(place: RunDir) -> Recipe[Any]:
        return build_recipe(config, build_policy(config, demonstrations), data, place, pool=None, note=unheard)

    return Flight(
        config=config,
        command=command,
        purpose=f"{config.name}: a policy that follows instructions, trained with {config.recipe.kind}.",
        sheet=sheet,
        spec=demonstrations.spec,
        build=build,
        waits=lambda recipe: of_world(config, recipe, demonstrations.num_frames / demonstrations.num_episodes),
    )


def sheet_of(config: RunConfig, data: tuple[Store, ...]) -> Sheet:
    """Look the demonstrations of a run through."""
    demonstrations = data[0]
    checked, doubts = look_through([demonstrations])
    held_out = sum(record.held_out for record in demonstrations.records)
    counts = {"episodes": demonstrations.num_episodes, "frames": demonstrations.num_frames}
    counts |= {"held-out episodes": held_out, "stills": sum(store.num_frames for store in data[1:])}
    amount = (*of_data(demonstrations.num_episodes, held_out), *of_length(config, demonstrations.num_frames))
    return Sheet(counts, checked, (*amount, *doubts))


def collect_only(config: RunConfig, *, out: Path | None) -> Path:
    """Record demonstrations where training would look for them, or in ``out``."""
    path = out or store_path(config, Path("runs"))
    with start_workers(config.workers) as pool:
        store = collect_phase(config, path, pool)
    table: dict[str, list[int]] = {}
    for record in store.records:
        table.setdefault(record.task, []).append(record.frames)
    for task, frames in table.items():
        say(f"  {task:<12}{len(frames):>6} episodes {sum(frames):>8} frames")
    return path

"""Training from recordings to a report: read in, train, measure on held-out episodes; goes on where it stopped."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sinew.core import config as configs
from sinew.core.errors import ConfigError
from sinew.core.files import read_json, write_json
from sinew.core.rundir import RunDir
from sinew.data.mixture import Mixture, table
from sinew.deploy.onnx import exportable
from sinew.engine import runcard
from sinew.engine.checkpoint import unheard
from sinew.engine.curves import draw_curves
from sinew.engine.distributed import world
from sinew.engine.progress import clock as as_clock
from sinew.engine.risks import Risk, of_data
from sinew.engine.track import read_rows
from sinew.engine.trainer import Trainer
from sinew.evaluate.offline import OfflineError
from sinew.evaluate.recorded import RecordedContent, write_recorded
from sinew.models.transfer import Transfer
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import BcConfig
from sinew.run import RunConfig
from sinew.run.clock import Clock
from sinew.run.diagnosing import what_happened
from sinew.run.following import followed
from sinew.run.lessons import Lessons, build, lessons
from sinew.run.offline import FILE, OfflineRecord, OfflineTryout, error_of, in_words, load, measure
from sinew.run.parts import check_labels, pick_device
from sinew.run.preflight import Flight, Sheet, begin, check_states, look_through, of_length, progress_of
from sinew.run.recordings import Recorded, data_of
from sinew.run.reporting import card_command, card_rows, curves_of, kept_tables, kept_words
from sinew.run.screen import heading, say
from sinew.run.waits import of_recordings

SPLITS = "splits.json"
"""Which episodes are learned from and which are held out, by data set."""
TAKEN = "init.json"
"""What was taken from the weights that training began with, a line each."""


def clone(config: RunConfig, rundir: RunDir, recorded: Sequence[Recorded], *, command: str, timer: Clock) -> None:
    """Do what is left to do of a run on recordings; the caller has claimed the directory."""
    heading("Recordings")
    known = lessons(config, recorded)
    check_states(config, known.spec)
    for text in describe(known):
        say(f"  {text}")
    write_json(rundir.path / SPLITS, known.splits())
    if world().tell(rundir.phase) in ("collect", "train"):
        rundir.enter("train")
        with timer.phase("train"):
            train_phase(config, rundir, known, command=command)
        rundir.enter("evaluate")
    if rundir.phase == "evaluate":
        with timer.phase("evaluate"):
            measure(config, rundir, known)
        rundir.enter("report")
    with timer.phase("report"):
        write(config, rundir, timer=timer)
    rundir.enter("done")


def follow_recorded(config: RunConfig, rundir: RunDir, recorded: Sequence[Recorded]) -> None:
    """Do another rank's part of such a run: its training."""
    train_phase(config, rundir, lessons(config, recorded), command="")


def describe(known: Lessons) -> Iterator[str]:
    """Yield what there is to learn from, in sentences."""
    kept = sum(record.held_out for record in known.records)
    sentences = len({record.instruction for record in known.records})
    yield f"{len(known.records)} episodes, {known.num_frames} frames, {sentences} sentences; {kept} episodes held out"
    for name, share in known.labelled.items():
        where = "in images" if name.startswith("image.") else "as numbers"
        yield f"{name.removeprefix('image.')} is known {where} in {100 * share:.0f} % of the training frames"
    if known.clicked:
        yield f"{known.clicked} clicked frames are used"
    if not known.labelled:
        yield "nothing says where things are: the policy finds out by itself what to look at"


def train_phase(config: RunConfig, rundir: RunDir, known: Lessons, *, command: str) -> None:
    """Train to the end, measuring on held-out episodes on the way."""
    heading("Training")
    foreseen = begin(flight(config, known, command), rundir)
    recipe, taken = build_recipe(config, known, rundir, note=say)
    if taken is not None and world().is_main:
        _tell(taken, rundir)
    with progress_of(config, foreseen) as progress, runcard.kept(rundir), followed(config, rundir, progress) as on_log:
        progress.tell_scores_as("held-out error", error_of)
        tryout = OfflineTryout(config, rundir, recipe, lessons=known, note=progress.note)
        trainer = Trainer(
            recipe, config.loop, rundir, seed=config.seed, on_eval=tryout, on_log=on_log, on_note=progress.note
        )
        state = trainer.run()
    say(f"  {config.loop.updates} updates in {as_clock(state.elapsed_s)}")


def build_recipe(
    config: RunConfig, known: Lessons, rundir: RunDir, *, note: Callable[[str], None]
) -> tuple[BehaviourCloning, Transfer | None]:
    """Return the recipe of a run on recordings, and what it takes from the weights it begins with.

    Args:
        config: of the run.
        known: what it learns from.
        rundir: where parts of recordings that are streamed lie for a while.
        note: told how they are streamed.

    Raises:
        ConfigError: the recipe needs a world.
    """
    if not isinstance(config.recipe, BcConfig):
        raise ConfigError(
            f"--recipe.kind {config.recipe.kind}: needs a world to act in; recordings are learned with bc."
        )
    policy, taken = build(config, known)
    check_labels(config.recipe.augment, policy.config, known.spec)
    stream = known.stream(rundir.data / "parts", batch=config.recipe.batch, seed=config.seed)
    if stream is not None:
        note(f"  {len(stream.parts(0))} parts an epoch, read in one after another; frames are mixed within a part")
    recipe = BehaviourCloning(
        policy,
        stream or known.windows(held_out=False),
        config.recipe,
        config.optim,
        updates=config.loop.updates,
        seed=config.seed,
        device=pick_device(config.device),
    )
    return recipe, taken


def flight(config: RunConfig, known: Lessons, command: str) -> Flight:
    """Return the run as it is to be foreseen."""
    return Flight(
        config=config,
        command=command,
        purpose=f"{config.name}: a policy that imitates the recordings in {data_of(config).said}.",
        sheet=lambda: sheet_of(config, known),
        spec=known.spec,
        build=lambda place: build_recipe(config, known, place, note=unheard)[0],
        waits=lambda recipe: of_recordings(config, recipe, known),
    )


def sheet_of(config: RunConfig, known: Lessons) -> Sheet:
    """Look the recordings through; says how often each source of a mixture will be seen."""
    held_out = sum(record.held_out for record in known.records)
    checked, doubts = look_through(known.stores)
    counts = {"episodes": len(known.records), "frames": known.num_frames, "held-out episodes": held_out}
    sentences = len({record.instruction for record in known.records})
    amount = (*of_data(len(known.records), held_out, sentences=sentences), *of_length(config, known.num_frames))
    failed = sum(not record.success for record in known.records)
    return Sheet({**counts, **_sources(config, known)}, checked, (*amount, *_failures(failed), *doubts))


def write(config: RunConfig, rundir: RunDir, *, timer: Clock) -> Path:
    """Write curves, the report and the end of the run card; return the report's path."""
    heading("Report")
    record = load(rundir.path / FILE)
    rows = read_rows(rundir.metrics)
    draw_curves(rows, rundir.curves)
    tryouts: dict[str, Any] = read_json(rundir.path / "tryouts.json") if (rundir.path / "tryouts.json").exists() else {}
    path = write_recorded(
        rundir.path,
        RecordedContent(
            name=config.name,
            command=card_command(rundir),
            held_out=record.held_out,
            training=record.training,
            replays=record.replays,
            moments=tuple(_moments(tryouts, config.loop.updates)),
            chosen=record.update / config.loop.updates,
            taken=tuple(read_json(rundir.path / TAKEN)) if (rundir.path / TAKEN).exists() else (),
            curves=tuple(curve for curve in curves_of(rows) if curve.name != "score"),
            facts=_facts(config, rundir, timer),
            config=configs.to_dict(config),
            next=tuple(_next(config, rundir.path)),
            answers=tuple(kept_tables(rundir.path).items()),
            date=datetime.date.today().isoformat(),
        ),
    )
    _finish_card(rundir, record, rows)
    return path


def report_again(path: Path) -> Path:
    """Write a run's report again from what it measured."""
    rundir = RunDir(path)
    page = write(configs.load(RunConfig, rundir.config), rundir, timer=Clock(path / "timings.json"))
    say(f"\nReport: {page}")
    return page


def next_steps(config: RunConfig, path: Path) -> None:
    """Print how a finished run did, where to look, and what to type now."""
    record = load(path / FILE)
    say(f"\nHeld-out recordings: {in_words(record.held_out)}")
    for name, unit, error in zip(record.held_out.action, record.held_out.units, record.held_out.error, strict=True):
        say(f"  {name:<16}off by {error:.4g} {unit}")
    if record.held_out.score > 2 * record.training.score:
        say(
            "It imitates what it learned from much better than what it never saw: more recordings, or weights to begin "
            "with (--init), help most."
        )
    say(f"\nReport: {path / 'report.html'}")
    for number, (command, text) in enumerate(_next(config, path)):
        say(f"{'Next:' if number == 0 else '':<8}{command}   # {text}")


def _next(config: RunConfig, path: Path) -> Iterator[tuple[str, str]]:
    """Yield commands that make sense now, each with what it does."""
    yield f"sinew evaluate {path}", "the held-out errors again, in numbers"
    if exportable(config.policy):
        yield f"sinew export {path} --to onnx", "one folder that runs on the robot without torch"
    else:
        yield f"sinew serve {path}", "a server that robots ask"
    if data_of(config).labels == "auto":
        yield (
            f"sinew data label {data_of(config).sources[0].path}",
            "click the named thing in a few frames, then train again",
        )


def _tell(taken: Transfer, rundir: RunDir) -> None:
    lines = list(taken.lines())
    for text in lines:
        say(f"  {text}")
    write_json(rundir.path / TAKEN, lines)


def _sources(config: RunConfig, known: Lessons) -> dict[str, str]:
    """Print how often each source of a mixture will be seen, and return it by source; nothing for one data set."""
    windows = known.windows(held_out=False)
    if not isinstance(windows, Mixture) or not isinstance(config.recipe, BcConfig):
        return {}
    draws = windows.draws(seed=config.seed, batch=config.recipe.batch, updates=config.loop.updates)
    lines = windows.lines(draws)
    for text in table(lines):
        say(f"  {text}")
    return {
        f"source {line.name}": f"{line.frames} training frames in {line.episodes} episodes, weight {line.weight:g}, "
        f"{100 * line.share:.1f} % of what is drawn, {line.epochs:.2f} epochs"
        + ("" if line.quality is None else f", loss times {line.quality:.2f} by quality")
        for line in lines
    }


def _failures(count: int) -> Iterator[Risk]:
    if count:
        yield Risk(
            "high",
            f"{count} episodes are marked as failures and are imitated like the others.",
            "Leave them out: sinew data filter.",
            "Train again without them.",
        )


def _moments(tryouts: Mapping[str, Any], updates: int) -> Iterator[tuple[float, float, float]]:
    for update, content in tryouts.items():
        found = configs.from_dict(OfflineError, content, "tryouts.json")
        yield int(update) / updates, found.score, found.accuracy


def _facts(config: RunConfig, rundir: RunDir, timer: Clock) -> dict[str, dict[str, str]]:
    card = rundir.card.read_text(encoding="utf-8")
    times = {f"{name}, wall": as_clock(phase["wall_s"]) for name, phase in timer.phases.items()}
    return {
        "data": {"path": data_of(config).said, **card_rows(card, "Data")},
        "policy": {f"{name} parameters": count for name, count in card_rows(card, "Parameters").items()},
        "training": {"recipe": config.recipe.kind, "updates": str(config.loop.updates), "seed": str(config.seed)},
        "time": {**times, "all, CPU": as_clock(timer.cpu_s)},
        **what_happened(rundir),
    }


def _finish_card(rundir: RunDir, record: OfflineRecord, rows: list[Any]) -> None:
    found = record.held_out
    results = {"held-out episodes": in_words(found), "training episodes": in_words(record.training)}
    results |= {
        f"{name}, held out": f"off by {error:.4g} {unit}"
        for name, unit, error in zip(found.action, found.units, found.error, strict=True)
    }
    results |= kept_words(rundir.path)
    elapsed = max((float(row.get("elapsed_s", 0.0)) for row in rows), default=0.0)
    runcard.finish(rundir, results=results, best_update=record.update, elapsed_s=elapsed)

"""Puts what a run left on disk into its films, its report and its last words on the terminal."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from sinew.core import config as configs
from sinew.core.errors import CheckpointError
from sinew.core.files import read_json, write_text
from sinew.core.rundir import RunDir
from sinew.engine import runcard
from sinew.engine.curves import draw_curves
from sinew.engine.progress import clock as as_clock
from sinew.engine.track import read_rows
from sinew.engine.workers import start_workers
from sinew.envs.playable import Playable
from sinew.evaluate import summary
from sinew.evaluate.chart import Curve
from sinew.evaluate.checks import checks, too_low
from sinew.evaluate.failures import Failure, worst
from sinew.evaluate.film import Clip, FilmJob, film_job, hero_states
from sinew.evaluate.rates import ALL, Rate, find
from sinew.evaluate.report import FilmedFailure, Moment, ReportContent, write_report
from sinew.evaluate.retained import Retention
from sinew.evaluate.retained import table as kept_table
from sinew.evaluate.tables import interval, latex_row, table, to_csv
from sinew.run import RunConfig
from sinew.run.clock import Clock
from sinew.run.diagnosing import what_happened
from sinew.run.screen import console, counting, heading, say

CURVES = ("return", "kept", "loss", "action", "grounding", "text", "lr", "grad_norm", "score")
"""What the report draws, as far as a recipe measures it."""
MOST_MISSED = 4
"""Bars that the terminal names; the report has them all."""
KEPT = "kept-{split}.json"
"""What a model that got a body could answer before and after."""
LOWER_IS_BETTER = {"loss": True, "score": False, "return": False}


def write(config: RunConfig, rundir: RunDir, *, command: str, pool: Executor, timer: Clock) -> Path:
    """Make films, curves, the report and the end of the run card; return the report's path."""
    heading("Report")
    found = summary.load(rundir.path / "evaluation.json")
    rows = read_rows(rundir.metrics)
    draw_curves(rows, rundir.curves)
    failed = worst(found.cells)
    hero, failures, films = _film(config, rundir, failed, pool)
    card = read_json(rundir.path / "tryouts.json") if (rundir.path / "tryouts.json").exists() else {}
    content = ReportContent(
        name=config.name,
        rates=found.rates(),
        command=command,
        checks=found.checks(),
        hero=hero,
        failures=tuple(FilmedFailure(item, clip) for item, clip in zip(failed, failures, strict=True)),
        films=films,
        moments=tuple(_moments(card, config.loop.updates)),
        curves=tuple(curves_of(rows)),
        facts=facts(config, rundir, found, timer),
        config=configs.to_dict(config),
        explain=getattr(config.world.build(1), "split_notes", {}),
        answers=tuple(kept_tables(rundir.path).items()),
        date=datetime.date.today().isoformat(),
    )
    path = write_report(rundir.path, content)
    _finish_card(rundir, found, rows)
    return path


def report_again(path: Path) -> Path:
    """Write a run's report again from what it measured, films included.

    Raises:
        CheckpointError: the run has not been measured yet.
    """
    rundir = RunDir(path)
    if not (path / "evaluation.json").exists():
        raise CheckpointError(
            f"{path}: no evaluation.json; only a run that was measured has a report. Finish it first."
        )
    config = configs.load(RunConfig, rundir.config)
    command = card_command(rundir)
    with start_workers(config.workers) as pool:
        page = write(config, rundir, command=command, pool=pool, timer=Clock(path / "timings.json"))
    say(f"\nReport: {page}")
    return page


def pooled_report(paths: Sequence[Path], out: Path) -> None:
    """Pool several seeds of one configuration: a table on the terminal, CSV and LaTeX beside it on disk."""
    runs = [summary.load(path / "evaluation.json") for path in paths]
    pooled = summary.pool_runs(runs)
    name = paths[0].name.rpartition("-")[0]
    write_text(out / "evaluation.csv", to_csv(pooled))
    write_text(out / "evaluation.tex", latex_row(name, pooled) + "\n")
    write_text(out / "runs.txt", "".join(f"{path}\n" for path in paths))
    heading(f"All {len(paths)} seeds together")
    console.print(table(pooled))
    say(f"{out}")


def next_steps(config: RunConfig, path: Path) -> None:
    """Print the table of a finished run, where to look, and what to type now."""
    found = summary.load(path / "evaluation.json")
    console.print()
    console.print(table(found.rates()))
    for text in remarks(found.rates()):
        say(f"  {text}")
    say(f"\nReport: {path / 'report.html'}")
    say(f"Next:   sinew evaluate {path} --episodes 200")
    if isinstance(config.world.build(1), Playable):
        say(f"        sinew play {path}")
    say(f"        sinew export {path} --to onnx")


def remarks(measured: Sequence[Rate]) -> Iterator[str]:
    """Yield in a few lines which bars are missed, and what could not be judged."""
    missed = [check for check in checks(measured) if not check.ok]
    for check in missed[:MOST_MISSED]:
        wanted = f"wanted at {'least' if check.at_least else 'most'} {100 * check.bar:.0f}"
        yield f"misses its bar: {check.what}, {check.task}: {100 * check.value:.0f} %, {wanted} %"
    if len(missed) > MOST_MISSED:
        yield f"and {len(missed) - MOST_MISSED} more bars; see the report"
    if remark := too_low(measured):
        yield remark


def facts(config: RunConfig, rundir: RunDir, found: summary.Evaluation, timer: Clock) -> dict[str, dict[str, str]]:
    """Return what the report says of data, training, machine and versions."""
    card = rundir.card.read_text(encoding="utf-8") if rundir.card.exists() else ""
    times = {f"{name}, wall": as_clock(phase["wall_s"]) for name, phase in timer.phases.items()}
    return {
        "data": card_rows(card, "Data"),
        "policy": {f"{name} parameters": count for name, count in card_rows(card, "Parameters").items()},
        "training": {"recipe": config.recipe.kind, "updates": str(config.loop.updates), "seed": str(config.seed)},
        "time": {
            **times,
            "all, wall": as_clock(timer.wall_s),
            "this process and its workers, CPU": as_clock(timer.cpu_s),
        },
        **what_happened(rundir),
        "machine": {"machine": found.machine, "evaluation": f"{found.episodes_per_s:.0f} episodes/s"},
        "versions": dict(found.versions),
    }


def kept_tables(path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return by split what a model could answer before and after it got a body; nothing where a run has none."""
    files = sorted(path.glob(KEPT.format(split="*")), key=lambda file: file.stem != "kept-seen")
    return {file.stem.removeprefix("kept-"): tuple(kept_table(Retention.load(file))) for file in files}


def kept_words(path: Path) -> dict[str, str]:
    """Return the same in a line each, for the run card."""
    totals = {split: rows[-1] for split, rows in kept_tables(path).items()}
    return {
        f"questions still answered ({split})": f"{row[5]} of {row[2]}, {row[4]} before, chance {row[3]}: {row[6]} kept"
        for split, row in totals.items()
    }


def _film(
    config: RunConfig, rundir: RunDir, failed: Sequence[Failure], pool: Executor
) -> tuple[Clip, tuple[Clip, ...], tuple[Clip, ...]]:
    """Film the hero, the failures and one more episode of each task, in parallel."""
    world, policy = config.world.build(1), str(rundir.checkpoints / "last")
    extra = max(0, config.evaluate.videos - 1 - len(failed))
    plain = [world.states("seen", task, 2)[1] for task in world.tasks][:extra]
    jobs = [FilmJob(config.world, policy, hero_states(world, 4), rundir.videos / "hero.mp4", size=480)]
    jobs += [
        FilmJob(config.world, policy, (item.outcome.state_id,), rundir.videos / f"failure-{number + 1}.mp4")
        for number, item in enumerate(failed)
    ]
    jobs += [
        FilmJob(config.world, policy, (state,), rundir.videos / f"{task}.mp4")
        for state, task in zip(plain, world.tasks, strict=False)
    ]
    clips: list[Clip] = []
    with counting("films") as count:
        for clip in pool.map(film_job, jobs):
            clips.append(clip)
            count(len(clips), len(jobs))
    return clips[0], tuple(clips[1 : 1 + len(failed)]), tuple(clips[1 + len(failed) :])


def _moments(tryouts: Mapping[str, Any], updates: int) -> Iterator[Moment]:
    for update, rates in tryouts.items():
        yield Moment(int(update) / updates, tuple(configs.from_dict(Rate, rate, "tryouts.json") for rate in rates))


def curves_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Curve]:
    """Yield the quantities of metrics.jsonl that a report draws."""
    names = [name for name in CURVES if any(name in row for row in rows)]
    for name in names:
        points = [(float(row["update"]), float(row[name])) for row in rows if row.get(name) is not None]
        if points:
            x, y = zip(*points, strict=True)
            yield Curve(name, x, y, LOWER_IS_BETTER.get(name))


def card_rows(card: str, title: str) -> dict[str, str]:
    """Return the first two columns of a section's table in a run card."""
    section = card.partition(f"## {title}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1] for row in cells[2:] if len(row) > 1}


def card_command(rundir: RunDir) -> str:
    """Return the command that a run card says the run was started with."""
    card = rundir.card.read_text(encoding="utf-8") if rundir.card.exists() else ""
    return card.partition("## Command\n\n```\n")[2].partition("\n```")[0] or f"sinew report {rundir.path}"


def _finish_card(rundir: RunDir, found: summary.Evaluation, rows: Sequence[Mapping[str, Any]]) -> None:
    results = {
        f"{rate.task} ({rate.split})": f"{rate.successes} of {rate.n}, 95 % interval {interval(rate)} %"
        for rate in found.rates()
        if rate.control == "none"
    }
    results |= kept_words(rundir.path)
    best = rundir.checkpoints / "best"
    elapsed = max((float(row.get("elapsed_s", 0.0)) for row in rows), default=0.0)
    total = find(found.rates(), ALL)
    if total is not None:
        results = {"all tasks (seen)": results.pop("all (seen)"), **results}
    update = int(best.readlink().name) if best.is_symlink() else None
    runcard.finish(rundir, results=results, best_update=update, elapsed_s=elapsed)

"""The three-stage recipe against everything at once: the same model, the same windows, the same CPU time of training.

Three stages are those of preset vla-three-stage; the first of them is the chain of preset vlm, whose runs group vqa
measures, and its cost counts. At once means one co-trained stage from random weights, all parts learning, until it has
cost as much. Whichever wins is reported; cells are runs below ``runs/bench``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from models_parts import vqa
from rows import ROOT, Row

from sinew.cli.resolve import around
from sinew.core.config import from_dict
from sinew.core.files import read_json
from sinew.deploy.load import checkpoint_of
from sinew.evaluate import summary
from sinew.evaluate.answers import CAPTION
from sinew.evaluate.rates import find
from sinew.evaluate.retained import Retention
from sinew.evaluate.summary import pool_runs
from sinew.presets.three_stage import from_nothing
from sinew.recipes.config import CotrainConfig
from sinew.run import RunConfig, train
from sinew.run.parts import run_path
from sinew.run.stages import Stage

RUNS = ROOT / "runs" / "bench" / "full"
COMMAND = "python benchmarks/models.py --only stages"
SEEDS = (0, 1, 2)
TRIAL = 200
"""Updates of the stage at once by which its cost is measured; all of them are part of the longer run's."""


def taught(seed: int) -> RunConfig:
    """Return the run that teaches the vision-language model, a cell of group vqa."""
    return vqa.config_of(vqa.CHAIN, vqa.chains()[vqa.CHAIN], seed, quick=False)


def three(seed: int) -> RunConfig:
    """Return the run of the stages with a robot."""
    config = dataclasses.replace(from_nothing("small"), seed=seed, device="cpu")
    return around(config, checkpoint_of(run_path(taught(seed), RUNS)))


def at_once(seed: int, updates: int) -> RunConfig:
    """Return the run of one stage of that length."""
    config = dataclasses.replace(from_nothing("small"), seed=seed, device="cpu")
    together = next(stage for stage in config.stages or () if isinstance(stage.recipe, CotrainConfig))
    # From random weights the model has all to learn, so it learns at the rate of the head.
    optim = dataclasses.replace(together.optim, parts=None)
    stage = Stage("at once", updates, together.recipe, optim)
    loop = dataclasses.replace(config.loop, updates=updates)
    return dataclasses.replace(config, name="at-once", stages=(stage,), loop=loop)


def cell(config: RunConfig, *, learn: bool) -> Path | None:
    """Return a run's directory, trained now with ``learn``; None where it is not finished."""
    path = run_path(config, RUNS)
    state = path / "state.json"
    if not (state.exists() and json.loads(state.read_text())["phase"] == "done"):
        if not learn:
            return None
        train(config, root=RUNS, command=COMMAND)
    return path


def seconds(path: Path) -> float:
    """Return the CPU-seconds of a run's training."""
    return float(json.loads((path / "timings.json").read_text())["phases"]["train"]["cpu_s"])


def cost(path: Path) -> float:
    """Return the CPU-seconds of a run's training and of the model's that it began with."""
    config = from_dict(RunConfig, read_json(path / "config.json"), str(path))
    begun = "" if config.vlm is None else config.vlm.path
    return seconds(path) + (seconds(Path(begun).parents[1]) if begun else 0.0)


def pair(seed: int, *, learn: bool) -> tuple[Path, Path] | None:
    """Return the runs of a seed, in stages and at once with as much CPU time; None where one is missing."""
    first = cell(taught(seed), learn=learn)
    if first is None:
        return None
    staged, trial = cell(three(seed), learn=learn), cell(at_once(seed, TRIAL), learn=learn)
    if staged is None or trial is None:
        return None
    updates = round(TRIAL * cost(staged) / seconds(trial))
    whole = cell(at_once(seed, updates), learn=learn)
    return None if whole is None else (staged, whole)


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield success and answers of both; what is missing is trained, with ``quick`` it is left out."""
    found = {seed: both for seed in SEEDS if (both := pair(seed, learn=not quick)) is not None}
    for number, name in enumerate(("three stages", "everything at once")):
        yield from arm_rows(name, {seed: both[number] for seed, both in found.items()})


def arm_rows(name: str, cells: dict[int, Path]) -> Iterator[Row]:
    """Yield closed-loop success, and the share of questions answered."""
    success, answers = f"table-top, {name}: success on seen states", f"table-top, {name}: questions answered"
    if not cells:
        yield Row(success, None, "%", command=COMMAND)
        yield Row(answers, None, "%", command=COMMAND)
        return
    seeds = ", ".join(map(str, cells))
    spent = sum(map(cost, cells.values())) / len(cells)
    rate = find(pool_runs([summary.load(path / "evaluation.json") for path in cells.values()]), "all")
    assert rate is not None
    value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
    note = f"{spent:.0f} CPU-seconds of training"
    yield Row(success, value, "%", n=rate.n, low=low, high=high, seeds=seeds, command=COMMAND, note=note)
    marks = [
        mark
        for path in cells.values()
        for mark in Retention.load(path / "kept-seen.json").after
        if mark.kind != CAPTION
    ]
    count = sum(mark.n for mark in marks)
    share = round(100 * sum(mark.right for mark in marks) / count, 1)
    yield Row(answers, share, "%", n=count, seeds=seeds, command=COMMAND, note="on new scenes, all kinds together")

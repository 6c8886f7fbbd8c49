"""Measures what is foreseen of a run against what it took: peak memory, and the time that is left."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rows import ROOT, Row

from sinew.core.config import digest, load
from sinew.core.errors import SinewError
from sinew.data.collect import collect
from sinew.engine.eta import Eta
from sinew.presets import PRESETS
from sinew.recipes.config import GrpoConfig
from sinew.run import RunConfig
from sinew.run.waits import of_acting

COMMAND = "python benchmarks/engine.py --only preflight"
BAR = 0.2
AFTER = 0.05
"""Share of a run after which the rest is foreseen."""
CASES: dict[str, dict[str, Any]] = {
    "small, 2048 rows": {"size": "small", "batch": 2048},
    "small, 1536 rows, no averages": {"size": "small", "batch": 1536, "ema": 0.0},
    "large, 320 rows": {"size": "large", "batch": 320},
    "large, 384 rows, vision frozen": {"size": "large", "batch": 384, "frozen": "network.vision"},
    "small with tokens of width 128, 640 rows": {"size": "small", "batch": 640, "tokens": 128},
}
PROCESS = """
import dataclasses, json, sys, tempfile
from pathlib import Path
import torch
from sinew.core.machine import process_bytes
from sinew.core.rundir import RunDir
from sinew.data.store import Store
from sinew.engine import preflight, trainer
from sinew.engine.config import CostConfig, LoopConfig
from sinew.models.config import TokenVisionConfig
from sinew.presets import PRESETS
from sinew.run.parts import build_policy, build_recipe

what, place, case = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(1)
config = PRESETS["tabletop"](case["size"])
vision = TokenVisionConfig(width=case["tokens"], layers=4) if "tokens" in case else config.policy.vision
parts = {case["frozen"]: 0.0} if "frozen" in case else None
config = dataclasses.replace(
    config,
    policy=dataclasses.replace(config.policy, vision=vision),
    recipe=dataclasses.replace(config.recipe.inner, batch=case["batch"]),
    optim=dataclasses.replace(config.optim, ema=case.get("ema", config.optim.ema), parts=parts),
    loop=LoopConfig(updates=2, log_every=1, save_every=2, eval_at=()),
)
store = Store.open(place)
build = lambda at: build_recipe(config, build_policy(config, store), [store], at, pool=None, note=print)
base = process_bytes()
if what == "foreseen":
    preflight.SECONDS = 0.0
    found = preflight.foresee(
        build, config.loop, waits=lambda *_: preflight.Waits(), cost=CostConfig(), place=place
    )
    print(json.dumps(found.memory.needed))
else:
    with tempfile.TemporaryDirectory() as scratch:
        rundir = RunDir(Path(scratch))
        trainer.Trainer(build(rundir), config.loop, rundir, seed=0).run()
    print(json.dumps(process_bytes("VmHWM") - base))
"""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield the rows of memory, then those of time."""
    yield from memory_rows(2 if quick else len(CASES))
    yield from time_rows()


def memory_rows(count: int) -> Iterator[Row]:
    """Yield foreseen against measured peak memory above the process's base, each in a process of its own."""
    config = PRESETS["tabletop"]("small")
    few = dataclasses.replace(config.collect, episodes=60)
    with tempfile.TemporaryDirectory() as scratch:
        store = collect(Path(scratch) / "store", config.world, few, seed=0)
        for name, case in list(CASES.items())[:count]:
            foreseen, measured = (ask(what, store.path, case) for what in ("foreseen", "measured"))
            error = foreseen / measured - 1
            yield Row(
                f"peak memory above the base, foreseen against measured: {name}",
                round(100 * error, 1),
                "%",
                bar=f"within {100 * BAR:.0f} %",
                ok=abs(error) <= BAR,
                n=1,
                command=COMMAND,
                note=f"foreseen {foreseen / 1e9:.2f} GB, measured {measured / 1e9:.2f} GB (VmHWM of two updates and a "
                "checkpoint); CPU, one thread",
            )


def ask(what: str, place: Path, case: dict[str, Any]) -> float:
    """Return the bytes that a fresh process foresees or takes."""
    words = [sys.executable, "-c", PROCESS, what, str(place), json.dumps(case)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def time_rows() -> Iterator[Row]:
    """Yield how far the time foreseen after a twentieth of recorded runs is from what they took.

    Wall time says as much of the other work on the machine, which nobody foresees, as of the run; where a log has CPU
    time, which is what the run takes with cores to itself, that is replayed too.
    """
    logs = recorded()
    yield from errors_row("CPU time", [eta_error(path, "cpu_s") for path in logs])
    yield from errors_row("wall time", [eta_error(path, "elapsed_s") for path in logs])


def errors_row(what: str, told: Sequence[float | None]) -> Iterator[Row]:
    """Yield how many of the errors are small, and their middle."""
    errors = sorted(abs(error) for error in told if error is not None)
    first, second = (
        f"recorded runs whose end, foreseen after 5 %, is within 20 %, in {what}",
        f"median error of the end of recorded runs, foreseen after 5 %, in {what}",
    )
    if not errors:
        yield Row(first, None, "%", bar="= 100", command=COMMAND)
        return
    within = sum(error <= BAR for error in errors)
    note = "replayed from metrics.jsonl; stops are foreseen from one rehearsal and stretched as the updates are"
    if what == "wall time":
        note += "; these runs shared their machine with other work, which came and went"
    share, middle = round(100 * within / len(errors), 1), round(100 * statistics.median(errors), 1)
    low, high = round(100 * errors[0], 1), round(100 * errors[-1], 1)
    yield Row(first, share, "%", "= 100", within == len(errors), len(errors), command=COMMAND, note=note)
    limit = f"<= {100 * BAR:.0f}"
    yield Row(second, middle, "%", limit, middle <= 100 * BAR, len(errors), low, high, command=COMMAND, note=note)


def recorded() -> list[Path]:
    """Return the logs of recorded runs that came to their end."""
    return sorted((ROOT / "runs").glob("*/*/metrics.jsonl"))


def eta_error(path: Path, clock: str) -> float | None:
    """Return by what share the end foreseen after a twentieth was off; None for a run that did not come to its end.

    Args:
        path: of a log.
        clock: its column of time, since the beginning or, of CPU time, since the row before.
    """
    try:
        config = load(RunConfig, path.with_name("config.json"))
    except SinewError:
        return None
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if "elapsed_s" in row]
    if not rows or rows[-1]["update"] != config.loop.updates or any(clock not in row for row in rows):
        return None
    times = [row[clock] for row in rows]
    if clock == "cpu_s":
        times = list(itertools.accumulate(times))
    if config.stages:
        eta = of_stages(config, path.with_name("stages.json"))
    elif isinstance(config.recipe, GrpoConfig) or config.env is None:
        eta = Eta(config.loop.updates)
    else:
        update_s, episode_s = rehearsed(config)
        eta = Eta(config.loop.updates, of_acting(config, episode_s).stops, update_s=update_s)
    for row, elapsed in zip(rows, times, strict=True):
        eta.see(row["update"], elapsed)
        if row["update"] >= AFTER * config.loop.updates:
            left = eta.left()
            return None if left is None else (elapsed + left) / times[-1] - 1
    return None


def of_stages(config: RunConfig, path: Path) -> Eta:
    """Return what tells the time of a run in stages, by the rehearsals that it kept itself."""
    kept = json.loads(path.read_text())["stages"] if path.exists() else []
    paces = [(one["time"]["updates"], one["time"]["update_s"]) for one in kept]
    begins = [0, *itertools.accumulate(count for count, _ in paces)]
    total = sum(count * seconds for count, seconds in paces)
    return Eta(
        config.loop.updates,
        update_s=total / config.loop.updates,
        paces=[(begin, seconds) for begin, (_, seconds) in zip(begins, paces, strict=False)],
    )


_rehearsed: dict[str, tuple[float, float]] = {}


def rehearsed(run: RunConfig) -> tuple[float, float]:
    """Return what an update and an episode of a run's policy take here now [s], one thread each."""
    key = digest(run.policy, run.recipe)
    if key not in _rehearsed:
        import torch

        from sinew.core.rundir import RunDir
        from sinew.engine.rehearsal import rehearse
        from sinew.run.parts import build_policy, build_recipe
        from sinew.run.waits import acted

        torch.set_num_threads(1)
        base = PRESETS["tabletop"]("small")
        config = dataclasses.replace(base, policy=run.policy, recipe=getattr(run.recipe, "inner", run.recipe))
        with tempfile.TemporaryDirectory() as scratch:
            few = dataclasses.replace(config.collect, episodes=60)
            store = collect(Path(scratch) / "store", config.world, few, seed=0)
            place = RunDir(Path(scratch))
            recipe = build_recipe(config, build_policy(config, store), [store], place, pool=None, note=print)
            found = rehearse(recipe, seconds=3.0, affordable=lambda _: True)
            tick_s, longest = acted(config, recipe.acting())  # type: ignore[arg-type]
        episode_s = tick_s * (store.num_frames / store.num_episodes + longest) / 2
        _rehearsed[key] = (found.data_s + found.update_s, episode_s)
    return _rehearsed[key]

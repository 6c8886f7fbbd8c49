"""Measures what the first run promises: success, controls, ablations, speed, and survival of kill -9.

    python benchmarks/first_run.py                      everything; hours, but finished cells are found on disk
    python benchmarks/first_run.py --quick              what fits in five minutes; learning only where it is on disk
    python benchmarks/first_run.py --only success       rows whose group holds the word
    python benchmarks/first_run.py --json OUT           also write them; rows not measured now keep their old values

Learning cells are ordinary runs under ``runs/first_run``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "first_run"
SEEDS = (0, 1, 2)
SKILLS = ("touch", "lift", "place", "push")


@dataclass(frozen=True)
class Row:
    """One line of the table; ``state`` is met, missed, reported or not run."""

    what: str
    value: float | None
    unit: str
    bar: str = ""
    ok: bool | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    seeds: str = ""
    command: str = ""
    note: str = ""

    def record(self, commit: str) -> dict[str, Any]:
        """Return the row as JSON values."""
        state = "not run" if self.value is None else {True: "met", False: "missed", None: "reported"}[self.ok]
        return {**dataclasses.asdict(self), "state": state, "commit": commit}


def cells() -> dict[str, Any]:
    """Return the configuration of every learning cell without its seed: the preset, and one change at a time."""
    from sinew.presets import PRESETS
    from sinew.recipes.config import DaggerConfig

    base = PRESETS["tabletop"]("small")
    assert isinstance(base.recipe, DaggerConfig)
    grounding = dataclasses.replace(base.policy.grounding, weight=0.0)
    plain = dataclasses.replace(base, evaluate=dataclasses.replace(base.evaluate, controls=False, videos=1))
    flow = _with_flow(plain)
    rounds = {
        f"DAgger rounds: {count}": dataclasses.replace(
            plain, recipe=dataclasses.replace(base.recipe, rounds=base.recipe.rounds[:count])
        )
        for count in (0, 1, 2)
    }
    blind = dataclasses.replace(plain, policy=dataclasses.replace(base.policy, grounding=grounding))
    return {"preset": base, "without grounding labels": blind, "flow head": flow, **rounds}


def _with_flow(config: Any) -> Any:  # noqa: ANN401
    from sinew.models.config import FlowHeadConfig

    return dataclasses.replace(config, policy=dataclasses.replace(config.policy, head=FlowHeadConfig()))


def evaluations(config: Any, seeds: tuple[int, ...], *, learn: bool) -> list[Any]:  # noqa: ANN401
    """Return the evaluation of each seed's run; with ``learn`` train what is missing, else leave it out."""
    from sinew.evaluate import summary
    from sinew.run import train
    from sinew.run.parts import run_path

    found: list[Any] = []
    for seed in seeds:
        one = dataclasses.replace(config, seed=seed)
        path = run_path(one, RUNS)
        state = path / "state.json"
        done = state.exists() and json.loads(state.read_text())["phase"] == "done"
        if learn and not done:
            train(one, root=RUNS, command=f"sinew train --config {path}/config.json")
            done = True
        if done:
            found.append(summary.load(path / "evaluation.json"))
    return found


def success_rows(*, learn: bool) -> list[Row]:
    """Success per skill, the controls and the splits of the preset, pooled over seeds."""
    from sinew.evaluate.rates import find
    from sinew.evaluate.summary import pool_runs

    runs = evaluations(cells()["preset"], SEEDS, learn=learn)
    command = f"sinew train tabletop --seeds {len(SEEDS)}"
    if not runs:
        return [Row("success on seen states", None, "%", ">= 95", command=command)]
    rates = pool_runs(runs)
    seeds = ", ".join(str(run.seed) for run in runs)

    def row(what: str, rate: Any, bar: str, ok: bool | None) -> Row:  # noqa: ANN401, FBT001
        value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
        return Row(what, value, "%", bar, ok, rate.n, low, high, seeds, command)

    rows: list[Row] = []
    for skill in SKILLS:
        rate = find(rates, skill)
        assert rate is not None
        whole = len(runs) == len(SEEDS)
        ok = whole and rate.rate >= 0.95 and rate.lowest >= 0.90
        rows.append(
            row(f"{skill}, states never seen (worst seed {100 * rate.lowest:.0f})", rate, ">= 95, worst >= 90", ok)
        )
    seen = find(rates, "all")
    chance = find(rates, "all", control="random")
    other = find(rates, "all", control="other")
    assert seen is not None
    assert chance is not None
    assert other is not None
    rows.append(
        row("another goal named, judged on it", other, f">= {100 * seen.rate - 5:.1f}", other.rate >= seen.rate - 0.05)
    )
    for control, words in (
        ("wrong", "wrong goal named"),
        ("silent", "no instruction"),
        ("blank", "grey images"),
        ("random", "random actions"),
    ):
        rate = find(rates, "all", control=control)
        assert rate is not None
        apart = rate.high <= seen.low - 0.60 and abs(rate.rate - chance.rate) <= 0.05
        rows.append(row(words, rate, f"{100 * chance.rate:.1f} +- 5 and <= {100 * seen.low - 60:.0f}", apart))
    expert = find(rates, "all", control="expert")
    if expert is not None:
        rows.append(row("scripted expert", expert, "", None))
    bars = {"pairs": 0.85, "templates": seen.rate - 0.10, "crowded": None}
    names = {
        "pairs": "unseen colour and shape pairs",
        "templates": "unseen sentences",
        "crowded": "twice the distractors",
    }
    for split, bar in bars.items():
        rate = find(rates, "all", split=split)
        assert rate is not None
        rows.append(
            row(
                names[split],
                rate,
                "" if bar is None else f">= {100 * bar:.1f}",
                None if bar is None else rate.rate >= bar,
            )
        )
    return rows


def ablation_rows(*, learn: bool) -> list[Row]:
    """Success of one-change variants, reported."""
    from sinew.evaluate.rates import find
    from sinew.evaluate.summary import pool_runs

    rows: list[Row] = []
    for name, config in cells().items():
        if name == "preset":
            continue
        runs = evaluations(config, SEEDS, learn=learn)
        if not runs:
            rows.append(Row(name, None, "%", command="python benchmarks/first_run.py --only ablation"))
            continue
        rates = pool_runs(runs)
        every = ", ".join(
            f"{skill} {100 * rate.rate:.0f}" for skill in SKILLS if (rate := find(rates, skill)) is not None
        )
        rate = find(rates, "all")
        assert rate is not None
        value, low, high = (round(100 * number, 1) for number in (rate.rate, rate.low, rate.high))
        seeds = ", ".join(str(run.seed) for run in runs)
        command = "python benchmarks/first_run.py --only ablation"
        rows.append(Row(f"{name} ({every})", value, "%", "", None, rate.n, low, high, seeds, command))
    return rows


def time_rows(*, learn: bool) -> list[Row]:
    """How long the first run takes on a fresh clone, and where its time goes."""
    record = RUNS / "demo.json"
    if learn:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(demo()))
    if not record.exists():
        return [Row("fresh clone to report", None, "min", "<= 15", command="make demo")]
    found = json.loads(record.read_text())
    parts = [found["phases"][name] for name in ("collect", "train", "evaluate")]
    wall, cpu = (sum(part[kind] for part in parts) / 60 for kind in ("wall_s", "cpu_s"))
    whole = found["wall_s"] / 60
    return [
        Row(
            "fresh clone to report, pip install included, wall",
            round(whole, 2),
            "min",
            "<= 15",
            whole <= 15,
            1,
            seeds="0",
            command="make demo",
        ),
        Row(
            "demonstrations, training and evaluation, wall",
            round(wall, 2),
            "min",
            "<= 8",
            wall <= 8,
            1,
            seeds="0",
            command="make demo",
        ),
        Row("the same, CPU of all processes", round(cpu, 2), "min", "", None, 1, seeds="0", command="make demo"),
    ]


def demo() -> dict[str, Any]:
    """Clone the repository, type the one command, and return what it took."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["git", "clone", "-q", str(ROOT), f"{place}/sinew"], check=True)
        start = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=f"{place}/sinew", check=True)
        seconds = time.perf_counter() - start
        timings = next(Path(place).glob("sinew/runs/*/timings.json"))
        return {"wall_s": seconds, "phases": json.loads(timings.read_text())["phases"]}


def evaluation_rows(*, learn: bool) -> list[Row]:
    """How fast the batched evaluation was in the preset's runs."""
    del learn
    runs = evaluations(cells()["preset"], SEEDS, learn=False)
    if not runs:
        return [Row("evaluation, batched", None, "episodes/s", ">= 40", command="sinew train tabletop --seeds 3")]
    speeds = sorted(run.episodes_per_s for run in runs)
    middle, seeds = speeds[len(speeds) // 2], ", ".join(str(run.seed) for run in runs)
    low, high = round(speeds[0], 1), round(speeds[-1], 1)
    command = "sinew train tabletop --seeds 3"
    return [
        Row(
            "evaluation, batched",
            round(middle, 1),
            "episodes/s",
            ">= 40",
            middle >= 40,
            len(runs),
            low,
            high,
            seeds,
            command,
        )
    ]


def demonstration_rows(*, learn: bool) -> list[Row]:
    """How fast demonstrations with images are recorded on all cores."""
    import shutil

    from sinew.data.collect import collect
    from sinew.engine.workers import start_workers
    from sinew.presets import PRESETS

    del learn
    config = PRESETS["tabletop"]("small")
    place = RUNS / "speed"
    frames: list[float] = []
    episodes: list[float] = []
    with start_workers(0) as pool:
        for trial in range(4):
            shutil.rmtree(place, ignore_errors=True)
            start = time.perf_counter()
            count = dataclasses.replace(config.collect, episodes=100 if trial == 0 else 600)
            store = collect(place, config.env, count, seed=trial, pool=pool)
            if trial:  # the first one starts the workers
                seconds = time.perf_counter() - start
                frames.append(store.num_frames / seconds)
                episodes.append(60 * store.num_episodes / seconds)
    shutil.rmtree(place, ignore_errors=True)
    command = "python benchmarks/first_run.py --only demonstrations"
    fast, many = sorted(frames)[1], sorted(episodes)[1]
    return [
        Row(
            "demonstrations with images",
            round(fast),
            "frames/s",
            ">= 1000",
            fast >= 1000,
            3,
            round(min(frames)),
            round(max(frames)),
            "0-3",
            command,
        ),
        Row(
            "demonstrations with images",
            round(many),
            "episodes/min",
            ">= 3000",
            many >= 3000,
            3,
            round(min(episodes)),
            round(max(episodes)),
            "0-3",
            command,
        ),
    ]


def update_rows(*, learn: bool) -> list[Row]:
    """An update against the same network in a loop written by hand."""
    del learn
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "update.py")], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout.splitlines()[-1])
    command = "python benchmarks/update.py"
    return [
        Row(
            "update against a loop by hand, CPU time",
            found["cpu_ratio"],
            "x",
            "<= 1.05",
            found["cpu_ratio"] <= 1.05,
            found["blocks"],
            found["low"],
            found["high"],
            "",
            command,
        ),
        Row(
            "update against a loop by hand, aten calls",
            found["aten_ratio"],
            "x",
            "<= 1.05",
            found["aten_ratio"] <= 1.05,
            1,
            None,
            None,
            "",
            command,
        ),
    ]


def kill_rows(*, learn: bool) -> list[Row]:
    """Kill runs at random moments, repeat the command, compare the bits at the end."""
    del learn
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kills.py")], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout.splitlines()[-1])
    command = "python benchmarks/kills.py"
    phases = ", ".join(f"{count} in {phase}" for phase, count in found["phases"].items())
    return [
        Row(
            f"kill -9 at random moments ({phases}): identical weights and results",
            found["identical"],
            f"of {found['runs']} runs",
            f"{found['runs']}",
            found["identical"] == found["runs"],
            found["kills"],
            None,
            None,
            "",
            command,
        )
    ]


def light_rows(*, learn: bool) -> list[Row]:
    """What ``sinew --help`` imports, and names of the world outside its folder."""
    del learn
    code = (
        "import sys, sinew.cli.main as m; m.main(['--help']); print(sum(n in sys.modules for n in ('torch', 'mujoco')))"
    )
    heavy = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
    )
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_house.py", "-k", "world"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return [
        Row("torch and mujoco imported by sinew --help", heavy, "of 2", "0", heavy == 0, command="sinew --help"),
        Row(
            "names of the world outside its folder and preset",
            float(test.returncode),
            "found",
            "0",
            test.returncode == 0,
            command="pytest tests/test_house.py -k world",
        ),
    ]


def test_rows(*, learn: bool) -> list[Row]:
    """How long the test suite takes."""
    record = RUNS / "tests.json"
    if learn:
        record.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        passed = int(re.findall(r"(\d+) passed", done.stdout)[-1])
        record.write_text(json.dumps({"passed": passed, "seconds": time.perf_counter() - start}))
    if not record.exists():
        return [Row("the test suite", None, "min", "<= 5", command="make test")]
    found = json.loads(record.read_text())
    minutes = found["seconds"] / 60
    return [
        Row(
            f"the test suite, {found['passed']} tests",
            round(minutes, 2),
            "min",
            "<= 5",
            minutes <= 5,
            1,
            command="make test",
        )
    ]


GROUPS: dict[str, Callable[..., list[Row]]] = {
    "success": success_rows,
    "ablation": ablation_rows,
    "time": time_rows,
    "evaluation": evaluation_rows,
    "demonstrations": demonstration_rows,
    "update": update_rows,
    "kill": kill_rows,
    "light": light_rows,
    "tests": test_rows,
}
QUICK = ("success", "ablation", "time", "evaluation", "demonstrations", "update", "light", "tests")


def main() -> int:
    """Measure, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    old = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, measure in GROUPS.items():
        if options.only in name and (not options.quick or name in QUICK):
            groups[name] = [row.record(commit) for row in measure(learn=not options.quick)]
        elif name in old.get("groups", {}):
            groups[name] = old["groups"][name]
    rows = [row for group in groups.values() for row in group]
    for row in rows:
        interval = "" if row["low"] is None else f" [{row['low']}, {row['high']}]"
        print(f"| {row['what']} | {row['value']} {row['unit']}{interval} | {row['bar']} | {row['state']} |")
    if options.json:
        content = {
            "rows": rows,
            "groups": groups,
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def machine() -> str:
    """Return the machine in a few words."""
    from sinew.core.machine import inspect_machine

    found = inspect_machine(ROOT)
    return (
        f"{found.cores} CPU cores, {found.memory / 2**30:.0f} GiB, {', '.join(found.gpus) or 'no GPU'}, {found.system}"
    )


def versions() -> str:
    """Return the versions that matter."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "mujoco", "numpy"))


if __name__ == "__main__":
    sys.exit(main())

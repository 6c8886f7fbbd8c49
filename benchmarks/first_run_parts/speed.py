"""What the first run costs: minutes, frames and episodes per second, CPU time of an update, and what a kill loses."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from first_run_parts.learning import RUNS, cells
from rows import ROOT, Row


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
    """How fast the preset's evaluation, controls included, is on all cores; three times with one policy."""
    from sinew.engine.workers import start_workers
    from sinew.evaluate import summary
    from sinew.run.parts import run_path

    del learn
    config = cells()["preset"]
    policy = run_path(config, RUNS) / "checkpoints" / "last"
    command = "python benchmarks/first_run.py --only evaluation"
    if not policy.exists():
        return [Row("evaluation, batched", None, "episodes/s", ">= 40", command=command)]
    with start_workers(0) as pool:  # they start within the first one's time, as they do for a user
        runs = [summary.evaluate(str(policy), config.world, config.evaluate, pool=pool) for _ in range(3)]
    speeds = sorted(run.episodes_per_s for run in runs)
    low, middle, high = (round(speed, 1) for speed in speeds)
    what = f"evaluation, batched, {runs[0].num_episodes} episodes"
    return [Row(what, middle, "episodes/s", ">= 40", middle >= 40, len(runs), low, high, "0", command)]


def demonstration_rows(*, learn: bool) -> list[Row]:
    """How fast demonstrations with images are recorded on all cores."""
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
            store = collect(place, config.world, count, seed=trial, pool=pool)
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
            [sys.executable, "-m", "pytest", "-q", "-n", "auto"], cwd=ROOT, capture_output=True, text=True, check=True
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

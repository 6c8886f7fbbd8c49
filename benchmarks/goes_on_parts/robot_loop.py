"""Measures the robot loop: ten minutes at 20 Hz with injected faults, a simulated robot and a policy elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import ROOT, Row

from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.deploy.controller import Controller
from sinew.deploy.loop_report import LoopReport
from sinew.deploy.watchdog import PolicyProcess
from sinew.envs.robot import RobotIO
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.robot import robot_spec
from sinew.safety.limits import ShieldLimits
from sinew.safety.shield import Shield

sys.path.insert(0, str(ROOT / "examples"))

COMMAND = "python benchmarks/goes_on.py --only robot_loop"
HZ = 20.0
TICKS = 2
SPEED = 0.002
"""What the policy asks for [m a tick], in a circle, so that a slower command is a brake."""
KINDS = ("slow policy", "slow camera", "frozen frames", "NaN actions")
SLOW_S = 0.3
FROZEN_S = 0.5
LIMITS = ShieldLimits(("dx", "dy", "dz"), ("m",) * 3, (0.1,) * 3, (0.2,) * 3)
WORLD = TabletopConfig()
SPEC: RobotSpec = dataclasses.replace(robot_spec(WORLD), hz=HZ)


class Schedule:
    """Which fault is due: one every few seconds, in turn; kept in a file, since two processes follow it.

    Args:
        path: its first line is the time at which it begins and the seconds between faults; later ones are the
            moments at which faults took effect.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, -1
        self.begin_s = self.every_s = math.inf

    def start(self, every_s: float) -> None:
        """Begin now."""
        self.path.write_text(f"{time.monotonic()} {every_s}\n")

    def due(self, kinds: tuple[str, ...]) -> str | None:
        """Return a fault of these kinds whose time has come, once each, and write down that it takes effect."""
        if not math.isfinite(self.begin_s) and self.path.exists():
            self.begin_s, self.every_s = map(float, self.path.read_text().split("\n")[0].split())
        since = time.monotonic() - self.begin_s
        number = math.floor(since / self.every_s) - 1 if math.isfinite(since) else -1
        if number <= self.done or KINDS[number % len(KINDS)] not in kinds:
            return None
        self.done = number
        kind = KINDS[number % len(KINDS)]
        with self.path.open("a") as file:
            file.write(f"{time.monotonic()} {kind}\n")
        return kind

    def effects(self) -> list[tuple[float, str]]:
        """Return (moment, kind) of every fault that took effect."""
        lines = [line.partition(" ") for line in self.path.read_text().splitlines()[1:]]
        return sorted((float(moment), kind) for moment, _, kind in lines)


class CirclingPolicy:
    """Goes in a circle; sleeps or says NaN when the schedule wants it."""

    spec: RobotSpec = SPEC

    def __init__(self, schedule: Path) -> None:
        self.schedule, self.tick, self.bad = Schedule(schedule), 0, 0

    def reset(self, rows: Rows = None) -> None:
        """Nothing to forget."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return a step of the circle."""
        self.tick += 1
        fault = self.schedule.due(("slow policy", "NaN actions"))
        if fault == "slow policy":
            time.sleep(SLOW_S)
        self.bad = 3 if fault == "NaN actions" else max(0, self.bad - 1)
        angle = 2 * math.pi * self.tick / (6 * HZ)
        step = [SPEED * math.cos(angle), SPEED * math.sin(angle), math.nan if self.bad else 0.0, 1.0]
        return np.array([step], dtype=np.float32)


class FaultyRobot:
    """The simulated robot with a camera that hangs or freezes, and an account of all commands."""

    def __init__(self, schedule: Path) -> None:
        from sim_robot import SimRobot

        self.inner = SimRobot("seen/lift/0", WORLD)
        self.schedule = Schedule(schedule)
        self.thaw_s = 0.0
        self.frame = 0.0
        self.commands: list[tuple[float, float]] = []

    def get_camera_image(self) -> NDArray[np.uint8]:
        """Return a frame, late when the schedule wants it."""
        fault = self.schedule.due(("slow camera", "frozen frames"))
        if fault == "slow camera":
            time.sleep(SLOW_S)
        if fault == "frozen frames":
            self.thaw_s = time.monotonic() + FROZEN_S
        return self.inner.get_camera_image()

    def get_frame_time(self) -> float:
        """Return the frame's number, the old one while the camera is frozen."""
        if time.monotonic() >= self.thaw_s:
            self.frame = self.inner.get_frame_time()
        return self.frame

    def get_state(self) -> NDArray[np.float32]:
        """Return the state."""
        return self.inner.get_state()

    def execute_action(self, action: NDArray[np.float32]) -> None:
        """Note the command's moment and length [m], then move."""
        self.commands.append((time.monotonic(), float(np.linalg.norm(action[:3]))))
        self.inner.execute_action(action)

    def braked_after(self, moment: float) -> float:
        """Return the seconds from a moment to the first command that is slower than the policy's; inf for none."""
        return next((at - moment for at, length in self.commands if at >= moment and length < 0.9 * SPEED), math.inf)


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    with tempfile.TemporaryDirectory() as place:
        yield from loop_rows(Path(place), 24.0 if quick else 600.0, 2.0 if quick else 6.0)
        yield kill_row(Path(place), 2 if quick else 10)


def run(place: Path, seconds: float, every_s: float, kill_s: float | None) -> tuple[LoopReport, FaultyRobot, Any]:
    """Run the loop; return its report, the robot with its account, and (schedule, log lines, moment of the kill)."""
    schedule = place / f"schedule-{time.monotonic_ns()}"
    robot = FaultyRobot(schedule)
    policy = PolicyProcess(functools.partial(CirclingPolicy, schedule))
    lines: list[str] = []
    killed: list[float] = []

    def kill() -> None:
        killed.append(time.monotonic())
        os.kill(policy.pid, signal.SIGKILL)

    timer = threading.Timer(kill_s or 0.0, kill)
    controller = Controller(RobotIO(robot, SPEC), policy, Shield(LIMITS, SPEC), note=lines.append)
    plan = Schedule(schedule)
    plan.start(every_s)
    if kill_s is not None:
        timer.start()
    try:
        report = controller.run(seconds)
    finally:
        timer.cancel()
        policy.close()
        robot.inner.close()
    return report, robot, (plan, lines, killed)


def loop_rows(place: Path, seconds: float, every_s: float) -> Iterator[Row]:
    """Yield the time to the brake per kind of fault, the log lines, and the rate."""
    report, robot, (plan, lines, _) = run(place, seconds, every_s, None)
    ends = robot.commands[-1][0]
    waits: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for moment, kind in plan.effects():
        if moment < ends - 1.0:
            waits[kind].append(robot.braked_after(moment) * HZ)
    said = sum("Braking." in line for line in lines)
    for kind, found in waits.items():
        worst = max(found, default=math.inf)
        yield Row(
            f"robot loop, {kind}: ticks from the fault to the first slower command, worst",
            round(worst, 2) if found else None,
            "ticks",
            bar=f"<= {TICKS}",
            ok=worst <= TICKS,
            n=len(found),
            command=COMMAND,
            note=f"{seconds:g} s at {HZ:g} Hz, simulated robot and policy in processes of their own",
        )
    injected = sum(map(len, waits.values()))
    kinds = Counter(fault.kind for fault in report.faults)
    yield Row(
        "robot loop: log lines that say what is braked for, per injected fault",
        round(said / injected, 2),
        "",
        bar=">= 1",
        ok=said >= injected,
        n=injected,
        command=COMMAND,
        note="faults seen: " + ", ".join(f"{kind} {count}" for kind, count in kinds.items()) + f"; such as: {lines[0]}",
    )
    yield Row(
        f"robot loop: rate error over {report.seconds:.0f} s, all faults included",
        round(100 * report.rate_error, 3),
        "%",
        bar="<= 1 %",
        ok=report.rate_error <= 0.01,
        n=report.ticks,
        command=COMMAND,
        note=f"{report.late} ticks late by more than a tenth, worst {1000 * report.worst_late_s:.0f} ms, "
        f"{report.missed} missed; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    )


def kill_row(place: Path, times: int) -> Row:
    """Return the worst time from killing the policy's process to the first slower command."""
    waits: list[float] = []
    rested = True
    for number in itertools.islice(itertools.count(), times):
        report, robot, (_, _, killed) = run(place, 20.0, math.inf, 1.5 + 0.037 * number)
        waits.append(robot.braked_after(killed[0]) * HZ)
        rested = rested and report.failed and report.rested and "the policy's process died" in report.ended
    return Row(
        "robot loop, killed policy process: ticks from the kill to the first slower command, worst",
        round(max(waits), 2),
        "ticks",
        bar=f"<= {TICKS}, then to rest",
        ok=max(waits) <= TICKS and rested,
        n=times,
        command=COMMAND,
        note="each run ended at rest and said how the process died" if rested else "a run did not end at rest",
    )

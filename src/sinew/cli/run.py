"""``sinew run``: a policy on a robot, with a watchdog and a shield."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sinew.cli.words import read
from sinew.core.errors import ConfigError

if TYPE_CHECKING:
    from sinew.core.types import RobotSpec
    from sinew.deploy.loop_report import LoopReport
    from sinew.safety.hold import Guard


@dataclass(frozen=True)
class RunOptions:
    """Run a policy on a robot until time is up, Ctrl-C, or something fails; it always ends with a brake.

    Attributes:
        path: exported artefact, run or checkpoint.
        robot: module:object or file.py:object with the robot's methods; a class or function is called for it.
        instruction: what the robot is told; by default its own ``instruction``, where it has one.
        hz: control rate; by default the one the policy was trained at.
        seconds: how long; by default until it is done or stopped.
        shield: let the shield limit what is sent.
        limits: file with the shield's limits; by default those that the robot's description implies.
        ramp: seconds from rest to full speed in those that it implies, 0.3 by default; less is looser.
        record: directory to which episodes are written.
        budget: share of a tick in which frame and answer must have come.
        stale_ticks: how often in a row a frame may come again before the camera counts as frozen; 0 never looks.
        ahead: predict the next chunk while this one is executed, for a policy that is slower than a tick.
        device: of the policy; auto, cpu, cuda or mps.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTEFACT")]
    robot: str
    instruction: str | None = None
    hz: float | None = None
    seconds: float | None = None
    shield: bool = True
    limits: Path | None = None
    ramp: float | None = None
    record: Path | None = None
    budget: float = 0.8
    stale_ticks: int = 2
    ahead: bool = False
    device: str = "auto"


def run(words: list[str]) -> int:
    """Run a policy on a robot; 1 when robot or policy failed, 130 when it was stopped by a signal."""
    from sinew.deploy.ahead import Ahead, predicting
    from sinew.deploy.load import load_policy
    from sinew.deploy.watchdog import PolicyProcess, answering

    options = read(RunOptions, words, "sinew run")
    for name in ("hz", "seconds"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} {value:g}: give a number above 0.")
    load = functools.partial(load_policy, options.path.absolute(), device=options.device)
    policy = PolicyProcess(load, answer=predicting if options.ahead else answering)
    try:
        spec = _rated(policy.spec, options.hz)
        guard = _guard(options, spec)
        robot = find_robot(options.robot)
        try:
            asked = Ahead(policy, policy.execute) if options.ahead else policy
            report = _drive(options, robot, spec, asked, guard)
        finally:
            close = getattr(robot, "close", None)
            if callable(close):
                close()
    finally:
        policy.close()
    print("\n".join(report.lines()))
    return 1 if report.failed or not report.rested else 130 if report.ended.startswith("stopped by") else 0


def find_robot(name: str) -> Any:  # noqa: ANN401  (any driver)
    """Return the robot that ``module:object`` or ``file.py:object`` names; a class or function is called for it.

    Raises:
        ConfigError: there is no such module or object, or it cannot be imported.
    """
    found = find_object("--robot", name)
    return found() if callable(found) else found


def find_object(flag: str, name: str) -> Any:  # noqa: ANN401
    """Return what ``module:object`` or ``file.py:object`` names.

    Raises:
        ConfigError: there is no such module or object, or it cannot be imported.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(f"{flag} {name}: write module:object or file.py:object, such as my_robot.py:Arm.")
    path = Path(place)
    if place.endswith(".py") and not path.is_file():
        raise ConfigError(f"{flag} {name}: there is no file {place}.")
    folder = path.parent if place.endswith(".py") else Path()
    sys.path.insert(0, str(folder.absolute()))  # stays: a driver that starts processes is imported there again
    try:
        module = importlib.import_module(path.stem if place.endswith(".py") else place)
    except ImportError as error:
        raise ConfigError(f"{flag} {name}: could not be imported. {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"{flag} {name}: {place} has no {attribute}.")
    return found


def _rated(spec: RobotSpec, hz: float | None) -> RobotSpec:
    """Return the spec at the rate that was asked for, and say what another rate means."""
    if hz is None or hz == spec.hz:
        return spec
    print(f"The policy was trained at {spec.hz:g} Hz; at {hz:g} Hz it moves {hz / spec.hz:.2g} times as fast.")
    return dataclasses.replace(spec, hz=hz)


def _guard(options: RunOptions, spec: RobotSpec) -> Guard:
    from sinew.safety.hold import Hold
    from sinew.safety.limits import RAMP_S, limits_from_spec, load_limits
    from sinew.safety.shield import Shield

    if not options.shield:
        print("No shield: nothing limits what the policy sends.")
        return Hold(spec)
    if options.limits is not None:
        if options.ramp is not None:
            raise ConfigError("--ramp shapes limits that are derived; --limits names others. Give one of the two.")
        print(f"limits: {options.limits}")
        return Shield(load_limits(options.limits), spec)
    ramp = RAMP_S if options.ramp is None else options.ramp
    shield = Shield(limits_from_spec(spec, ramp_s=ramp), spec)
    print(f"limits: derived from the action bounds, full speed in {ramp:g} s")
    return shield


def _told(options: RunOptions, robot: Any) -> str:  # noqa: ANN401  (any driver)
    """Return what the robot is told; nothing only where --instruction says so."""
    if options.instruction is not None:
        return options.instruction
    own = getattr(robot, "instruction", None)
    if not own:
        raise ConfigError(
            f"--robot {options.robot}: neither it nor --instruction says what it is to do. Say it: --instruction "
            '"...", or give the driver an `instruction`. --instruction "" runs it without a sentence.'
        )
    return own


def _drive(options: RunOptions, robot: Any, spec: RobotSpec, policy: Any, guard: Guard) -> LoopReport:  # noqa: ANN401
    from sinew.core.spec import check_spec
    from sinew.deploy.controller import Controller, LoopConfig
    from sinew.deploy.recording import LoopRecorder
    from sinew.envs.robot import RobotIO

    own = getattr(robot, "spec", None)
    if own is not None:
        check_spec(spec, dataclasses.replace(own, hz=spec.hz), sides=("policy", "robot"))
    told = _told(options, robot)
    recorder = None if options.record is None else LoopRecorder(options.record, spec)
    config = LoopConfig(budget=options.budget, stale_ticks=options.stale_ticks)
    on_tick = () if recorder is None else (recorder,)
    try:
        controller = Controller(RobotIO(robot, spec, told), policy, guard, config=config, on_tick=on_tick, note=_say)
        print(f"Running at {spec.hz:g} Hz: {told or 'no instruction'}. Ctrl-C brakes and ends it.", flush=True)
        return controller.run(options.seconds)
    finally:
        if recorder is not None:
            recorder.close()
            print(f"{recorder.kept} episodes recorded in {options.record}")


def _say(line: str) -> None:
    print(line, flush=True)

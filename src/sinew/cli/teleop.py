"""``sinew collect --teleop``: demonstrations by a person who drives a simulated or a real robot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinew.core.errors import ConfigError

if TYPE_CHECKING:
    from sinew.cli.options import CollectOptions
    from sinew.core.types import RobotSpec
    from sinew.run import RunConfig
    from sinew.run.teleop.loop import Recorded

DEVICES = ("keyboard", "gamepad")


def by_hand(options: CollectOptions, config: RunConfig) -> int:
    """Record what a person shows, and say where it is and what to do with it.

    Raises:
        ConfigError: nobody drives, or the words do not belong together.
    """
    from sinew.run.teleop import loop

    if options.teleop is None:
        raise ConfigError(
            f"--robot {options.robot}: say who drives it: --teleop keyboard, gamepad or file.py:function."
        )
    if options.seconds <= 0 or (options.episodes is not None and options.episodes < 1):
        raise ConfigError("--seconds and --episodes: give numbers above 0.")
    name = config.name if options.robot is None else Path(options.robot.partition(":")[0]).stem
    plan = loop.Plan(
        out=options.out or Path("recordings") / name,
        wanted=options.episodes,
        seconds=options.seconds,
        tasks=options.tasks,
        task=options.task,
        limits=options.limits,
    )
    exported = None if options.to is None else _place(plan.out, options.to)
    recorded = _record(options, config, plan)
    print("\n".join(lines(recorded)))
    if exported is not None and recorded.episodes:
        from sinew.data.formats.export import convert

        convert(recorded.path, exported, to=str(options.to))
        print(f"Written as {options.to}: {exported}")
    return 0


def lines(recorded: Recorded) -> list[str]:
    """Return what was recorded, for people, and what to do with it."""
    tasks = "".join(f"\n  {task:<24}{count:>5} episodes" for task, count in sorted(recorded.tasks.items()))
    said = [f"{recorded.path}: {recorded.episodes} episodes, {recorded.new} of them new{tasks}"]
    if recorded.unjudged:
        said.append("The last one was broken off: it is kept and counts as no success. To discard it: x, next time.")
    if recorded.changed is not None:
        said.append(f"The shield changed what was wanted in {recorded.changed} ticks; recorded is what was sent.")
    if recorded.episodes:
        said.append(f"Look at it:    sinew data info {recorded.path}")
    if recorded.episodes > 1:
        said.append(f"Learn from it: sinew train bc --data {recorded.path}")
    return [*said, "The same command goes on."]


def _record(options: CollectOptions, config: RunConfig, plan: Any) -> Recorded:  # noqa: ANN401  (loop.Plan)
    from sinew.cli.run import find_object, find_robot
    from sinew.run.teleop import loop

    who = str(options.teleop)
    if who in DEVICES and not sys.stdout.isatty():
        raise ConfigError(f"--teleop {who}: whoever drives must see the robot; start it in a terminal.")
    teleop = who if who in DEVICES else find_object("--teleop", who)
    teleop = teleop() if isinstance(teleop, type) else teleop
    if options.robot is None:
        return loop.record(loop.world_for(config.world), teleop, plan)
    robot = find_robot(options.robot)
    try:
        return loop.record(loop.robot_for(robot, _spec(options.spec), options.instruction), teleop, plan)
    finally:
        for thing in (robot, teleop):
            close = getattr(thing, "close", None)
            if callable(close):
                close()


def _spec(path: Path | None) -> RobotSpec | None:
    from sinew.core import config as configs
    from sinew.core.types import RobotSpec

    return None if path is None else configs.load(RobotSpec, path)


def _place(out: Path, to: str) -> Path:
    """Return where the recording goes in another format.

    Raises:
        ConfigError: there is no such format, or something is there already.
    """
    from sinew.data.formats import WRITERS

    if to not in WRITERS or to == "recording":
        raise ConfigError(f"--to {to}: there is {', '.join(name for name in WRITERS if name != 'recording')}.")
    place = out.with_name(f"{out.name}-{to}")
    if place.exists():
        raise ConfigError(
            f"--to {to}: {place} is there already. Remove it; or leave --to out, and write it afterwards: "
            f"sinew data convert {out} --to {to} --out PLACE"
        )
    return place

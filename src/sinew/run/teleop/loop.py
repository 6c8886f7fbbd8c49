"""Runs a session of recording in time: asks whoever drives once a tick, and shows how it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import EnvConfig, NumpyObservation, RobotSpec, VecEnv
from sinew.data.recorder import EpisodeRecorder
from sinew.envs.rate import Rate
from sinew.envs.robot import RobotIO
from sinew.envs.robot_env import RobotEnv
from sinew.run.teleop.controls import WORDS, Controls, Wish, Word
from sinew.run.teleop.gamepad import GamepadTeleop
from sinew.run.teleop.keyboard import KeyboardTeleop, Keys, words_of
from sinew.run.teleop.screen import Screen
from sinew.run.teleop.session import Session
from sinew.safety.limits import ShieldLimits, load_limits
from sinew.safety.shield import Shield

Teleop = Callable[[NumpyObservation], Any]
"""Anything that says what a person wants: an action (A,), an action and a word, a ``Wish``, or None for nothing."""
FOREVER = 1_000_000
"""Ticks; the session decides when an episode is too long, not the world."""


@dataclass(frozen=True)
class Recorded:
    """What a session did.

    Attributes:
        path: the recording.
        episodes: in it now. new: recorded by this session.
        tasks: episodes by task.
        unjudged: the last one was broken off; it is kept, and counts as no success.
        changed: ticks in which the shield changed what was wanted; None without a shield.
    """

    path: Path
    episodes: int
    new: int
    tasks: dict[str, int]
    unjudged: bool = False
    changed: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be recorded.

    Attributes:
        out: directory of the recording.
        wanted: episodes in it at the end, None for as many as somebody likes.
        seconds: longest episode.
        tasks: of the world, those to record; None for all.
        task: what to call all episodes in tables.
        limits: of a shield between the person and the robot; None takes those that the robot or world itself has.
    """

    out: Path
    wanted: int | None = None
    seconds: float = 60.0
    tasks: tuple[str, ...] | None = None
    task: str | None = None
    limits: Path | None = None


def world_for(config: EnvConfig) -> VecEnv:
    """Return a world with one row that is as patient as a person needs."""
    if dataclasses.is_dataclass(config) and hasattr(config, "max_ticks"):
        config = dataclasses.replace(config, max_ticks=FOREVER)  # type: ignore[assignment]
    return config.build(1)


def robot_for(robot: Any, spec: RobotSpec | None, instruction: str | None) -> RobotEnv:  # noqa: ANN401  (any driver)
    """Return a robot as a world.

    Raises:
        ConfigError: nobody says what robot it is.
    """
    spec = spec or getattr(robot, "spec", None)
    if spec is None:
        raise ConfigError("the robot has no spec: give it one (a RobotSpec), or name a JSON file with --spec.")
    told = instruction if instruction is not None else getattr(robot, "instruction", "")
    if not told:
        raise ConfigError('say what the episodes show: --instruction "pick up the part".')
    return RobotEnv(RobotIO(robot, spec, told), max_ticks=FOREVER)


def shield_for(env: VecEnv, limits: Path | None) -> Shield | None:
    """Return a shield with the limits of a file, or those that a robot or world has as ``limits``; else None.

    Raises:
        ConfigError: the limits are wrong.
        SpecError: such a robot cannot be shielded.
    """
    own = getattr(env.robot.robot if isinstance(env, RobotEnv) else env, "limits", None)
    found = own if limits is None else load_limits(limits)
    if isinstance(found, str | Path):
        found = load_limits(Path(found))
    if found is not None and not isinstance(found, ShieldLimits):
        raise ConfigError(
            f"the robot's limits are {type(found).__name__}; ShieldLimits or the path of a file is wanted."
        )
    return None if found is None else Shield(found, env.spec)


def record(env: VecEnv, teleop: str | Teleop, plan: Plan, *, device: Path | None = None) -> Recorded:
    """Record episodes until there are enough, or somebody ends it; whatever happens, what was kept is on the disk.

    Args:
        env: the world or robot.
        teleop: keyboard, gamepad, or what is asked once a tick; see ``Teleop``.
        plan: how many of what, and where.
        device: of the gamepad.

    Raises:
        ConfigError: there is no terminal or gamepad, or the robot cannot be driven by it.
        DataError: the teleoperation says something else than an action.
        SinewError: the disk is full, or the robot failed.
    """
    real = isinstance(env, RobotEnv)
    if plan.tasks and set(plan.tasks) - set(env.tasks):
        raise ConfigError(f"--tasks {' '.join(plan.tasks)}: this world has {', '.join(env.tasks)}.")
    guard = shield_for(env, plan.limits)
    with ExitStack() as stack:
        recorder = stack.enter_context(EpisodeRecorder(plan.out, env.spec, source="teleop"))
        before = recorder.num_episodes
        session = Session(
            env,
            recorder,
            tasks=plan.tasks,
            wanted=plan.wanted,
            longest=max(1, round(plan.seconds * env.spec.hz)),
            follows=real,
            task=plan.task or (env.robot.instruction if isinstance(env, RobotEnv) else None),
        )
        session.guard = guard
        if isinstance(env, RobotEnv):
            stack.callback(env.robot.stop)
        stack.callback(session.close)
        driver = _driver(teleop, env.spec, stack, device)
        screen = Screen(driver.help)
        stack.callback(screen.close)
        screen.open()
        with suppress(KeyboardInterrupt):  # that is how one ends
            _run(session, driver, screen, paced=real)
    tasks = {name: count for name, count in recorder.tasks.items() if count}
    changed = None if guard is None else session.changed
    return Recorded(plan.out, recorder.num_episodes, recorder.num_episodes - before, tasks, session.unjudged, changed)


@dataclass(frozen=True)
class _Driver:
    """What is asked once a tick, what is told of every new scene, and lines on how to drive."""

    ask: Callable[[NumpyObservation], Wish]
    reset: Callable[[NumpyObservation], Any]
    help: Sequence[str] = ()


def _run(session: Session, driver: _Driver, screen: Screen, *, paced: bool) -> None:
    """Tick until the session is over; a robot that moves keeps its time itself."""
    rate, scenes = Rate(session.env.spec.hz), 0
    while not session.over:
        if session.scenes != scenes:
            driver.reset(session.obs)
            scenes = session.scenes
        wish = driver.ask(session.obs)
        for word in wish.words:
            session.do(word)
        action = wish.action if session.scenes == scenes else None  # what was meant for the last scene
        if not session.over:
            session.tick(action)
        screen.show(session)
        if (action is None) if paced else screen.alive:
            rate.wait()


def _driver(teleop: str | Teleop, spec: RobotSpec, stack: ExitStack, device: Path | None) -> _Driver:
    if teleop == "keyboard":
        board = KeyboardTeleop(stack.enter_context(Keys()), Controls(spec))
        return _Driver(board, board.reset, board.help())
    keys = _keys(stack)
    if teleop == "gamepad":
        pad = stack.enter_context(GamepadTeleop(Controls(spec), device))
        return _Driver(lambda obs: _with(pad(obs), keys), pad.reset, pad.help())
    if not callable(teleop):
        raise ConfigError(f"--teleop {teleop}: there is keyboard, gamepad, module:function and file.py:function.")
    reset = getattr(teleop, "reset", None)
    return _Driver(
        lambda obs: _with(understand(teleop(obs), spec), keys), reset if callable(reset) else lambda _obs: None
    )


def _keys(stack: ExitStack) -> Keys | None:
    """Return the terminal's keys, for words beside what drives; None where there is no terminal."""
    try:
        return stack.enter_context(Keys())
    except (ConfigError, OSError, ValueError):
        return None


def _with(wish: Wish, keys: Keys | None) -> Wish:
    return wish if keys is None else Wish(wish.action, (*words_of(keys), *wish.words))


def understand(said: Any, spec: RobotSpec) -> Wish:  # noqa: ANN401  (whatever a function returns)
    """Return what a teleoperation's answer means.

    Raises:
        DataError: it is no action of this robot, or a word that is not known.
    """
    if isinstance(said, Wish):
        return said
    action, words = said, ()
    if isinstance(said, tuple) and len(said) == 2 and (said[1] is None or isinstance(said[1], str)):
        action, words = said[0], () if said[1] is None else (said[1],)
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise DataError(f"the teleoperation says {unknown[0]!r}; there is {', '.join(WORDS)}.")
    known: tuple[Word, ...] = tuple(word for word in WORDS if word in words)
    if action is None:
        return Wish(None, known)
    try:
        values = np.asarray(action, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DataError(f"the teleoperation returned {type(said).__name__}, no action ({error}).") from error
    if values.shape != (spec.action_size,) or not np.isfinite(values).all():
        raise DataError(
            f"the teleoperation wants {values.tolist()}; {spec.action_size} finite values are wanted "
            f"({', '.join(spec.action)})."
        )
    return Wish(values, known)

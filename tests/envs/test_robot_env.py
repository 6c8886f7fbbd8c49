"""A robot as a world: run by the closed loop, kept at its rate, stopped when something is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.fake_robot import SPEC, FakeClock, Slider, Stepping
from sinew.core.errors import DataError
from sinew.core.rollout import run_episodes
from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec, Rows
from sinew.envs.robot import RobotError, RobotIO
from sinew.envs.robot_env import RobotEnv

STILL = np.zeros((1, 2), dtype=np.float32)


class Forward:
    """Goes forward."""

    spec: RobotSpec = SPEC

    def reset(self, rows: Rows = None) -> None:
        """Nothing to forget."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return 3 cm."""
        return np.array([[0.03, 0.0]], dtype=np.float32)


def test_the_closed_loop_runs_a_robot_at_its_rate() -> None:
    clock = FakeClock()
    env = RobotEnv(RobotIO(Stepping(), SPEC, "go"), clock=clock)
    (outcome,) = run_episodes(env, Forward(), env.states("seen", "robot", 1))
    assert (outcome.success, outcome.ticks, outcome.note) == (True, 4, "done")
    assert clock.time - 100.0 == pytest.approx(0.4)


def test_an_episode_without_success_is_cut_and_the_robot_stopped() -> None:
    robot = Slider()
    env = RobotEnv(RobotIO(robot, SPEC), max_ticks=3, clock=FakeClock())
    (outcome,) = run_episodes(env, Forward(), ["seen/robot/0"])
    assert (outcome.success, outcome.ticks, outcome.note) == (False, 3, "out of time")
    assert (robot.stops, robot.resets) == (1, 1)


def test_a_frozen_camera_ends_the_episode() -> None:
    robot = Slider()
    robot.get_camera_image = lambda: np.zeros((4, 6, 3), np.uint8)  # type: ignore[method-assign]
    env = RobotEnv(RobotIO(robot, SPEC), clock=FakeClock())
    env.reset(["seen/robot/0"])
    results = [env.step(STILL) for _ in range(3)]
    assert [bool(result.truncated[0]) for result in results] == [False, True, True]
    assert results[1].note == ("frozen: front",)
    assert robot.stops == 2


def test_an_emergency_stop_ends_the_episode() -> None:
    robot = Slider()
    env = RobotEnv(RobotIO(robot, SPEC, stop_asked=lambda: True), clock=FakeClock())
    env.reset(["seen/robot/0"])
    assert env.step(STILL).note == ("emergency stop",)
    assert robot.stops == 1


def test_a_failing_driver_and_a_bad_action_stop_the_robot() -> None:
    robot = Slider()
    env = RobotEnv(RobotIO(robot, SPEC), clock=FakeClock())
    env.reset(["seen/robot/0"])
    with pytest.raises(DataError, match="2 finite values is wanted"):
        env.step(STILL * np.nan)
    robot.get_state = lambda: 1 / 0  # type: ignore[assignment,return-value]
    with pytest.raises(RobotError, match="ZeroDivisionError"):
        env.step(STILL)
    assert robot.stops == 2


def test_what_only_a_simulation_can_do_is_refused() -> None:
    env = RobotEnv(RobotIO(Slider(), SPEC), clock=FakeClock())
    with pytest.raises(DataError, match="a robot has one body"):
        env.reset(["a", "b"])
    with pytest.raises(DataError, match="cannot be kept"):
        env.get_state()
    with pytest.raises(DataError, match="cannot be put back"):
        env.set_state([b""])
    assert env.variant("seen/robot/0", "wrong") is None


def test_points_are_shown_where_a_calibrated_camera_sees_them() -> None:
    # One metre above the origin, looking down: its z is the robot's -z, its y the robot's -y.
    pose = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    camera = CameraSpec(4, 6, intrinsics=(6.0, 6.0, 3.0, 2.0), pose=pose)
    env = RobotEnv(RobotIO(Slider(), dataclasses.replace(SPEC, cameras={"front": camera})), clock=FakeClock())
    found = env.project(0, np.array([[0.0, 0.0, 0.0], [0.25, 0.0, 0.0], [0.0, 0.1, 0.5]], dtype=np.float32))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.75, 0.5], [0.5, 0.2]], atol=1e-6)
    with pytest.raises(DataError, match="no intrinsics"):
        RobotEnv(RobotIO(Slider(), SPEC), clock=FakeClock()).project(0, np.zeros((1, 3), np.float32))


def test_the_picture_is_the_last_frame() -> None:
    env = RobotEnv(RobotIO(Slider(), SPEC), clock=FakeClock())
    env.reset(["seen/robot/0"])
    picture = env.picture(0, 12)
    assert picture.shape == (12, 12, 3)
    assert (picture == 1).all()

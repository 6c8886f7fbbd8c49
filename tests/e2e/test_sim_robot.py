"""The example's simulated robot, in its own process, under a policy in another one, on the real clock."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.deploy.controller import Controller
from sinew.deploy.loop_report import LoopTick
from sinew.deploy.watchdog import PolicyProcess
from sinew.envs.robot import RobotIO
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.robot import robot_spec
from sinew.safety.limits import limits_from_spec
from sinew.safety.shield import Shield

EXAMPLES = Path(__file__).parents[2] / "examples"
WORLD = TabletopConfig(image_size=16, objects=2, colours=2, shapes=2, zones=1)


class Drifting:
    """Drifts to the side."""

    spec: RobotSpec = robot_spec(WORLD)

    def reset(self, rows: Rows = None) -> None:
        """Nothing to forget."""

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return a step of 5 mm."""
        return np.array([[0.005, 0.0, 0.0, 1.0]], dtype=np.float32)


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's robot."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from sim_robot import SimRobot

    found = SimRobot("seen/lift/0", WORLD)
    yield found
    found.close()
    sys.modules.pop("sim_robot")


def test_a_killed_policy_leaves_the_simulated_robot_at_rest(robot: Any) -> None:  # noqa: ANN401
    policy = PolicyProcess(Drifting)
    lines: list[str] = []
    ticks: list[LoopTick] = []

    def watch(tick: LoopTick) -> None:
        ticks.append(tick)
        if len(ticks) == 8:
            os.kill(policy.pid, signal.SIGKILL)

    shield = Shield(limits_from_spec(robot.spec), robot.spec)
    port = RobotIO(robot, robot.spec, robot.instruction)
    controller = Controller(port, policy, shield, on_tick=(watch,), note=lines.append)
    begun = port.read().obs.state[0, 0]
    report = controller.run()
    policy.close()
    assert report.failed
    assert report.ended == "the policy's process died (killed by signal 9)."
    assert report.rested
    assert "Braking to rest." in lines[-1]
    still = [port.read().obs.state[0, 0, 0] for _ in range(2)]
    assert still[0] == still[1]
    assert 0.0 <= still[0] - begun[0] < 0.06


def test_the_simulated_robot_answers_as_the_world_does(robot: Any) -> None:  # noqa: ANN401
    env = WORLD.build(1)
    obs = env.reset(["seen/lift/0"])
    assert robot.instruction == obs.instruction[0]
    action = np.array([0.01, -0.01, -0.02, 1.0], dtype=np.float32)
    for _ in range(3):
        robot.execute_action(action)
        obs = env.step(action[None]).obs
    np.testing.assert_array_equal(robot.get_state(), obs.state[0, 0])
    np.testing.assert_array_equal(robot.get_camera_image(), obs.images["front"][0, 0].transpose(1, 2, 0))
    assert not robot.is_success()
    robot.reset()
    np.testing.assert_array_equal(robot.get_state(), env.reset(["seen/lift/0"]).state[0, 0])

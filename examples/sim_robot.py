"""The table-top world as a robot: in a process of its own, behind the methods that a robot's driver has.

    sinew run runs/NAME --robot examples/sim_robot.py:SimRobot --instruction "lift the red cube" --seconds 20

Camera and commands go through separate channels, as on a robot, so that a slow camera holds up no command.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import RobotSpec
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.robot import robot_spec


class SimRobot:
    """A gripper over a table; the world moves by one tick with every command.

    Args:
        state_id: the scene to begin with; its instruction is ``instruction``.
        config: of the world.
    """

    def __init__(self, state_id: str = "seen/lift/0", config: TabletopConfig | None = None) -> None:
        self.config = config or TabletopConfig()
        self.spec: RobotSpec = robot_spec(self.config)
        context = multiprocessing.get_context("spawn")
        self._sensors, sensors = context.Pipe()
        self._motors, motors = context.Pipe()
        self._locks = {id(self._sensors): threading.Lock(), id(self._motors): threading.Lock()}
        arguments = (self.config, state_id, sensors, motors)
        self.process = context.Process(target=simulate, args=arguments, daemon=True, name="sim robot")
        self.process.start()
        sensors.close()
        motors.close()
        self.instruction: str = self._ask(self._sensors, "instruction")

    def get_camera_image(self) -> NDArray[np.uint8]:
        """Return the camera's frame, (h, w, 3) RGB."""
        return self._ask(self._sensors, "image")

    def get_state(self) -> NDArray[np.float32]:
        """Return the proprioception."""
        return self._ask(self._sensors, "state")

    def get_frame_time(self) -> float:
        """Return how many frames the camera has taken; a simulated one may show the same picture twice."""
        return self._ask(self._sensors, "frame")

    def execute_action(self, action: NDArray[np.float32]) -> None:
        """Move for one tick."""
        self._ask(self._motors, np.asarray(action, dtype=np.float32))

    def is_success(self) -> bool:
        """Return whether the instruction is fulfilled."""
        return self._ask(self._sensors, "success")

    def reset(self) -> None:
        """Put everything back to where it began."""
        self._ask(self._motors, "reset")

    def close(self) -> None:
        """End the simulation."""
        self._sensors.close()
        self._motors.close()
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _ask(self, channel: Connection, question: object) -> Any:  # noqa: ANN401
        with self._locks[id(channel)]:
            channel.send(question)
            return channel.recv()


class World:
    """What runs in the robot's process.

    Args:
        config: of the world. state_id: where it begins.
    """

    def __init__(self, config: TabletopConfig, state_id: str) -> None:
        self.env, self.state_id = config.build(1), state_id
        self.frames = 0
        self.reset()

    def reset(self) -> None:
        """Put everything back."""
        self.obs, self.success = self.env.reset([self.state_id]), False

    def answer(self, question: object) -> object:
        """Do or say what is asked."""
        if isinstance(question, np.ndarray):
            result = self.env.step(question[None])
            self.obs, self.success = result.obs, bool(result.success[0])
            return None
        if question == "reset":
            return self.reset()
        self.frames += question == "image"
        return {
            "image": self.obs.images["front"][0, 0].transpose(1, 2, 0),
            "state": self.obs.state[0, 0],
            "frame": float(self.frames),
            "success": self.success,
            "instruction": self.obs.instruction[0],
        }[str(question)]


def simulate(config: TabletopConfig, state_id: str, sensors: Connection, motors: Connection) -> None:
    """Answer both channels until one of them is closed; Ctrl-C is for the one who commands."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    world = World(config, state_id)
    channels = [motors, sensors]
    while True:
        for channel in cast("list[Connection]", wait(channels)):
            try:
                channel.send(world.answer(channel.recv()))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return

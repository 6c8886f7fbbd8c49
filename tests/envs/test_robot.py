"""What is read from drivers of either kind, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.fake_robot import SPEC, Slider, Stepping
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import CameraSpec
from sinew.envs.robot import FrameWatch, RobotError, RobotIO


def test_three_methods_are_enough() -> None:
    robot = Slider()
    port = RobotIO(robot, SPEC, "go")
    port.send(np.array([0.02, 1.0], dtype=np.float32))
    reading = port.read()
    assert reading.obs.images["front"].shape == (1, 1, 3, 4, 6)
    assert reading.obs.instruction == ("go",)
    np.testing.assert_allclose(reading.obs.state, [[[0.02, 1.0]]], rtol=1e-6)
    assert (reading.success, reading.over) == (False, False)


def test_get_observation_and_step_are_enough_and_say_when_it_is_over() -> None:
    port = RobotIO(Stepping(), SPEC)
    for _ in range(3):
        assert not port.read().success
        port.send(np.array([0.04, 0.0], dtype=np.float32))
    reading = port.read()
    assert (reading.success, reading.over) == (True, True)
    port.reset()
    assert not port.read().over


def test_a_frame_has_a_stamp_of_its_pixels_or_of_the_driver() -> None:
    robot = Slider()
    port = RobotIO(robot, SPEC)
    first = port.read().stamps
    robot.frame -= 1
    assert port.read().stamps == first
    assert port.read().stamps != first
    robot.get_frame_time = lambda: {"front": 12.5}  # type: ignore[attr-defined]
    assert port.read().stamps == {"front": 12.5}


def test_images_may_come_by_name_and_channels_first() -> None:
    robot = Slider()
    image = np.arange(72, dtype=np.uint8).reshape(3, 4, 6)
    robot.get_camera_image = lambda: {"front": image, "wrist": None}  # type: ignore[assignment,return-value]
    np.testing.assert_array_equal(RobotIO(robot, SPEC).read().obs.images["front"][0, 0], image)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("get_camera_image", np.zeros((5, 6, 3), np.uint8), r"camera front sent an image of shape \(5, 6, 3\)"),
        ("get_camera_image", np.zeros((4, 6, 3), np.float32), "float32; wanted is"),
        ("get_camera_image", {"wrist": 0}, "no image of front, only of wrist"),
        ("get_state", [1.0, 2.0, 3.0], "sent 3 state values, the spec names 2"),
    ],
)
def test_what_does_not_fit_the_spec_is_refused(name: str, value: object, message: str) -> None:
    robot = Slider()
    setattr(robot, name, lambda: value)
    with pytest.raises(DataError, match=message):
        RobotIO(robot, SPEC).read()


def test_one_nameless_image_is_not_guessed_to_be_of_some_camera() -> None:
    two = dataclasses.replace(SPEC, cameras={"front": CameraSpec(4, 6), "wrist": CameraSpec(4, 6)})
    with pytest.raises(DataError, match="one image without a name, the spec has the cameras front, wrist"):
        RobotIO(Slider(), two).read()


def test_an_observation_without_state_is_refused() -> None:
    robot = Stepping()
    robot.get_observation = lambda: {"image": np.zeros((4, 6, 3), np.uint8)}  # type: ignore[method-assign]
    with pytest.raises(DataError, match="state is missing"):
        RobotIO(robot, SPEC).read()


def test_an_object_without_the_methods_is_no_robot() -> None:
    with pytest.raises(ConfigError, match="object: not a robot that can be run"):
        RobotIO(object(), SPEC)


def test_a_failing_driver_is_named_as_such() -> None:
    robot = Slider()

    def broken(*_: object) -> None:
        raise OSError("cable")

    robot.get_state = robot.execute_action = robot.stop = broken  # type: ignore[assignment,method-assign]
    port = RobotIO(robot, SPEC)
    with pytest.raises(RobotError, match=r"reading from the robot failed\. OSError: cable"):
        port.read()
    with pytest.raises(RobotError, match="commanding the robot failed"):
        port.send(np.zeros(2, np.float32))
    with pytest.raises(RobotError, match=r"stop\(\) of the robot failed"):
        port.stop()


def test_either_emergency_stop_counts() -> None:
    robot, pressed = Slider(), [False]
    port = RobotIO(robot, SPEC, stop_asked=lambda: pressed[0])
    assert not port.estop()
    pressed[0] = True
    assert port.estop()
    robot.estop = lambda: True  # type: ignore[attr-defined]
    assert RobotIO(robot, SPEC).estop()


def test_a_camera_is_frozen_after_so_many_repeats_and_thaws_with_a_new_frame() -> None:
    watch = FrameWatch(2)
    stamps = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0]
    found = [watch.frozen({"front": stamp, "wrist": number}) for number, stamp in enumerate(stamps)]
    assert found == [(), (), ("front",), ("front",), (), (), ()]
    never = FrameWatch(0)
    assert [never.frozen({"front": 1.0}) for _ in range(5)] == [()] * 5

"""Reads and commands a robot through the few methods that any robot's driver has."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.types import NumpyObservation, Observation, RobotSpec

CALLS = ("get_camera_image", "get_state", "execute_action")
STEPS = ("get_observation", "step")


class RobotError(SinewError):
    """The robot's own driver failed."""


@dataclass(frozen=True)
class Reading:
    """What a robot says of one moment.

    Attributes:
        obs: one row, T = 1.
        stamps: by camera the time or number of its frame; where the robot does not tell, a checksum of its pixels.
        success: what it was told is done, as far as it says so.
        over: it says that the episode has ended.
    """

    obs: NumpyObservation
    stamps: Mapping[str, float]
    success: bool = False
    over: bool = False


class RobotIO:
    """A robot seen through its spec: observations with checked shapes out, actions in.

    The robot has ``get_camera_image()``, ``get_state()`` and ``execute_action(action)``; or ``get_observation()``
    and ``step(action)``. An image is (h, w, 3) or (3, h, w) uint8 RGB; with several cameras, or on request, a dict of
    them by name. ``get_observation`` returns a dict with "image" or "images" and "state" or "robot_state". ``step``
    may return (obs, reward, done, info) or (obs, reward, terminated, truncated, info); of these, the end and
    info["success"] are looked at.

    Where the robot also has them, these are used: ``spec``; ``get_frame_time()``, a time or counter of the last frame,
    or a dict of them by camera; ``is_success()``; ``reset()``; ``stop()``, its own brake, called last; ``estop()``,
    whether its emergency stop is pressed.

    Args:
        robot: the object.
        spec: what it sees and takes.
        instruction: what it is told.
        stop_asked: asked every tick whether to stop at once, beside the robot's own ``estop``; must be quick.

    Raises:
        ConfigError: methods are missing.
    """

    def __init__(
        self,
        robot: Any,  # noqa: ANN401  (any driver)
        spec: RobotSpec,
        instruction: str = "",
        *,
        stop_asked: Callable[[], bool] | None = None,
    ) -> None:
        self.robot, self.spec, self.instruction, self.stop_asked = robot, spec, instruction, stop_asked
        self._over = self._success = False
        self._look, self._send = _methods(robot, spec)

    def read(self) -> Reading:
        """Return what the robot sees now.

        Raises:
            RobotError: its driver failed.
            DataError: it sends something else than its spec says.
        """
        try:
            images, state = self._look()
            stamp = self._optional("get_frame_time")
            success = self._optional("is_success")
        except Exception as error:
            raise _failure("reading from", error) from error
        spec = self.spec
        frames = _by_name(images, spec, "image")
        checked = {name: _image(name, frames[name], spec) for name in spec.cameras}
        values = np.asarray(state, dtype=np.float32).reshape(-1)
        if values.shape != (spec.state_size,):
            raise DataError(
                f"{spec.embodiment}: the robot sent {values.size} state values, the spec names {spec.state_size} "
                f"({', '.join(spec.state)}). Mend the driver, or use a policy made for this robot."
            )
        obs = Observation(
            images={name: image[None, None] for name, image in checked.items()},
            state=values[None, None],
            instruction=(self.instruction,),
        )
        if stamp is None:
            stamps = {name: float(zlib.crc32(image.tobytes())) for name, image in checked.items()}
        else:
            told = _by_name(stamp, spec, "frame time")
            stamps = {name: float(told[name]) for name in spec.cameras}
        return Reading(obs, stamps, bool(success) or self._success, self._over)

    def send(self, action: NDArray[np.float32]) -> None:
        """Command the robot for one tick, (A,) physical units.

        Raises:
            RobotError: its driver failed.
        """
        try:
            self._note(self._send(action))
        except Exception as error:
            raise _failure("commanding", error) from error

    def reset(self) -> None:
        """Start an episode.

        Raises:
            RobotError: its driver failed.
        """
        self._over = self._success = False
        self._call("reset")

    def stop(self) -> None:
        """Use the robot's own brake, where it has one.

        Raises:
            RobotError: its driver failed.
        """
        self._call("stop")

    def estop(self) -> bool:
        """Return whether someone asked for an emergency stop.

        Raises:
            RobotError: its driver failed.
        """
        return (self.stop_asked is not None and self.stop_asked()) or bool(self._call("estop"))

    def _call(self, name: str) -> Any:  # noqa: ANN401  (a driver's answer)
        try:
            return self._optional(name)
        except Exception as error:
            raise _failure(f"{name}() of", error) from error

    def _optional(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self.robot, name, None)
        return method() if callable(method) else None

    def _note(self, result: Any) -> None:  # noqa: ANN401
        """Take the end of an episode from what ``step`` returned."""
        if isinstance(result, tuple) and len(result) in (4, 5):
            self._over = self._over or any(bool(flag) for flag in result[2:-1])
            self._success = self._success or bool(dict(result[-1] or {}).get("success", False))


class FrameWatch:
    """Says which cameras show the same frame as before for too long.

    Args:
        ticks: repeats in a row from which a camera counts as frozen; 0 never looks.
    """

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.repeats: dict[str, int] = {}
        self.seen: dict[str, float] = {}

    def frozen(self, stamps: Mapping[str, float]) -> tuple[str, ...]:
        """Take the frames of a tick and return the frozen cameras."""
        for name, stamp in stamps.items():
            self.repeats[name] = self.repeats.get(name, 0) + 1 if self.seen.get(name) == stamp else 0
            self.seen[name] = stamp
        return tuple(name for name, count in self.repeats.items() if 0 < self.ticks <= count)


def _methods(robot: Any, spec: RobotSpec) -> tuple[Callable[[], tuple[Any, Any]], Callable[[Any], Any]]:  # noqa: ANN401
    """Return how to look and how to send."""
    has = {name for name in (*CALLS, *STEPS) if callable(getattr(robot, name, None))}
    if {"get_camera_image", "get_state"} <= has:

        def look() -> tuple[Any, Any]:
            return robot.get_camera_image(), robot.get_state()

    elif "get_observation" in has:

        def look() -> tuple[Any, Any]:
            return _parts(robot.get_observation(), spec)

    else:
        raise _missing(robot)
    name = next((name for name in ("execute_action", "step") if name in has), None)
    if name is None:
        raise _missing(robot)
    return look, lambda action: getattr(robot, name)(action)


def _missing(robot: object) -> ConfigError:
    return ConfigError(
        f"{type(robot).__name__}: not a robot that can be run. Give an object with the methods {', '.join(CALLS)}, "
        f"or with {' and '.join(STEPS)} (docs/robot-loop.md)."
    )


def _parts(observed: Any, spec: RobotSpec) -> tuple[Any, Any]:  # noqa: ANN401
    """Return images and state of what ``get_observation`` returned."""
    if not isinstance(observed, Mapping):
        raise DataError(f"get_observation() returned {type(observed).__name__}; a dict with image and state is wanted.")
    found = [next((observed[name] for name in names if name in observed), None) for names in _NAMES]
    images = found[0] if found[0] is not None else {name: observed[name] for name in spec.cameras if name in observed}
    if found[1] is None:
        raise DataError(f"get_observation() returned {', '.join(map(str, observed))}; state is missing.")
    return images, found[1]


_NAMES = (("images", "image"), ("state", "robot_state"))


def _by_name(given: Any, spec: RobotSpec, what: str) -> Mapping[str, Any]:  # noqa: ANN401
    """Return what belongs to each camera; with one camera it may come without its name."""
    if not isinstance(given, Mapping):
        if len(spec.cameras) != 1:
            raise DataError(
                f"{spec.embodiment}: one {what} without a name, the spec has the cameras {', '.join(spec.cameras)}. "
                "Return a dict by camera name."
            )
        return dict.fromkeys(spec.cameras, given)
    missing = [name for name in spec.cameras if name not in given]
    if missing:
        raise DataError(f"{spec.embodiment}: no {what} of {', '.join(missing)}, only of {', '.join(map(str, given))}.")
    return given


def _image(name: str, image: Any, spec: RobotSpec) -> NDArray[np.uint8]:  # noqa: ANN401
    """Return an image as (3, h, w)."""
    camera = spec.cameras[name]
    pixels = np.asarray(image)
    if pixels.dtype == np.uint8 and pixels.shape == (camera.height, camera.width, 3):
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if pixels.dtype == np.uint8 and pixels.shape == (3, camera.height, camera.width):
        return np.ascontiguousarray(pixels)
    raise DataError(
        f"{spec.embodiment}: camera {name} sent an image of shape {pixels.shape}, {pixels.dtype}; wanted is "
        f"({camera.height}, {camera.width}, 3) uint8, RGB. Resize or crop it in the driver as for the recordings."
    )


def _failure(doing: str, error: Exception) -> SinewError:
    """Return our error for what a driver raised; our own go through."""
    if isinstance(error, SinewError):
        return error
    return RobotError(f"{doing} the robot failed. {type(error).__name__}: {error}")

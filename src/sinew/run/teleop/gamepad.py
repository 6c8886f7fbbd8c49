"""A gamepad as Linux shows it: sticks push, buttons say words."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sinew.core.errors import ConfigError, SinewError
from sinew.core.types import NumpyObservation
from sinew.run.teleop.controls import Controls, Wish, Word

EVENT = struct.Struct("=IhBB")
"""An event of the kernel's joystick interface: time [ms], value, kind, number."""
BUTTON, AXIS = 1, 2
FULL = 32767
DEAD = 0.12
"""Share of a stick's way in which it counts as let go."""
STICKS = ((0, 1), (1, -1), (4, -1), (3, 1), (6, 1), (7, -1))
"""Axis and sign for the first graded action, the second, ...: left stick, right stick up, right stick, cross."""
SAID: Mapping[int, Word] = {7: "go", 3: "success", 1: "failure", 2: "discard", 6: "again"}
"""Buttons start, Y, B, X and back of the most common layout."""
SWITCH = {0: 0, 5: 1, 4: 2}
"""Buttons A, RB and LB turn the two-valued actions over."""


class GamepadTeleop:
    """Drives a robot by a gamepad; use it in a ``with`` block.

    Args:
        device: of the joystick interface; the first one by default.
        controls: of the robot.

    Raises:
        ConfigError: there is no gamepad, or it may not be read.
    """

    def __init__(self, controls: Controls, device: Path | None = None) -> None:
        self.controls = controls
        found = [device] if device is not None else sorted(Path("/dev/input").glob("js*"))
        if not found:
            raise ConfigError("no gamepad: there is no /dev/input/js*. Plug one in, or drive with --teleop keyboard.")
        self.device = found[0]
        try:
            self._file = os.open(self.device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"{self.device}: cannot be read ({error.strerror}). A user of the group input may read gamepads."
            ) from error
        self._axes: dict[int, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def __call__(self, obs: NumpyObservation) -> Wish:
        """Return what sticks and buttons say.

        Raises:
            SinewError: the gamepad was unplugged.
        """
        words: list[Word] = []
        for value, kind, number in self._events():
            if kind == AXIS:
                self._axes[number] = value / FULL
            elif kind == BUTTON and value and number in SAID:
                words.append(SAID[number])
            elif kind == BUTTON and value and number in SWITCH:
                self.controls.switch(SWITCH[number])
        pushes = [sign * _shaped(self._axes.get(axis, 0.0)) for axis, sign in STICKS]
        return Wish(self.controls.action(pushes), tuple(words))

    def reset(self, obs: NumpyObservation) -> None:
        """Begin a scene."""
        self.controls.reset(obs)

    def help(self) -> list[str]:
        """Return what sticks and buttons do, by line."""
        sticks = ("left stick ↔", "left stick ↕", "right stick ↕", "right stick ↔", "cross ↔", "cross ↕")
        moves = [f"{stick} {name}" for stick, name in zip(sticks, self.controls.pushed, strict=False)]
        turns = [f"{key} {name}" for key, name in zip(("A", "RB", "LB"), self.controls.switched, strict=False)]
        words = "start go/stop/keep   Y success   B failure   X discard   back again"
        return ["   ".join([*moves, *turns]), f"on the pad: {words}"]

    def _events(self) -> list[tuple[int, int, int]]:
        """Return (value, kind, number) of what happened since the last call."""
        content = b""
        while True:
            try:
                part = os.read(self._file, 64 * EVENT.size)
            except BlockingIOError:
                break
            except OSError as error:
                raise SinewError(f"{self.device}: the gamepad has gone ({error.strerror}). Plug it in.") from error
            content += part
            if len(part) < 64 * EVENT.size:
                break
        whole = len(content) - len(content) % EVENT.size
        return [(value, kind, number) for _, value, kind, number in EVENT.iter_unpack(content[:whole]) if kind < 0x80]


def _shaped(push: float) -> float:
    """Return a push without the dead middle, finer near it."""
    size = max(0.0, abs(push) - DEAD) / (1 - DEAD)
    return (size if push > 0 else -size) * size

"""Events of the kernel's joystick interface, through a pipe, become pushes, switches and words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envs.fake_robot import SPEC
from run.teleop.test_controls import seen
from sinew.core.errors import ConfigError
from sinew.run.teleop.controls import Controls, Wish
from sinew.run.teleop.gamepad import AXIS, BUTTON, DEAD, EVENT, FULL, GamepadTeleop


def test_sticks_push_and_buttons_speak(tmp_path: Path) -> None:
    device = tmp_path / "js0"
    os.mkfifo(device)
    controls = Controls(SPEC)
    controls.speed = 1.0
    controls.reset(seen(0.0, 0.0))
    with GamepadTeleop(controls, device) as pad:
        writer = os.open(device, os.O_WRONLY)

        def after(*events: tuple[int, int, int]) -> Wish:
            os.write(writer, b"".join(EVENT.pack(0, *event) for event in events))
            return pad(seen(0.0, 0.0))

        first = after((FULL, AXIS | 0x80, 0), (1, BUTTON | 0x80, 7))  # how it stood when it was opened
        assert first.words == ()
        wish = after((FULL, AXIS, 0), (1, BUTTON, 7), (0, BUTTON, 7), (1, BUTTON, 3), (1, BUTTON, 0))
        assert wish.words == ("go", "success")
        assert wish.action is not None
        assert wish.action.tolist() == pytest.approx([0.05, 1.0])
        held = after()
        assert held.action is not None
        assert held.action[0] == pytest.approx(0.05)
        half = after((-FULL // 2, AXIS, 0))
        assert half.action is not None
        assert -0.025 < half.action[0] < 0
        let_go = after((round(FULL * DEAD * 0.9), AXIS, 0))
        assert let_go.action is not None
        assert let_go.action[0] == 0.0
        os.close(writer)


def test_a_missing_gamepad_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        GamepadTeleop(Controls(SPEC), tmp_path / "js0")

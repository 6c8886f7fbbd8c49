"""Keys of a real pseudo-terminal become pushes, switches and words."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import numpy as np
import pytest

from envs.fake_robot import SPEC, FakeClock
from run.teleop.test_controls import seen
from sinew.core.errors import ConfigError
from sinew.run.teleop.controls import Controls
from sinew.run.teleop.keyboard import HELD_S, RELEASES_ON, KeyboardTeleop, Keys


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return what types, and the terminal."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_keys_words_and_pushes(terminal: tuple[int, int]) -> None:
    person, place = terminal
    clock = FakeClock()
    before = termios.tcgetattr(place)
    with Keys(place, clock.now) as keys:
        assert os.read(person, 100).decode() == RELEASES_ON
        driver = KeyboardTeleop(keys, Controls(SPEC))
        driver.reset(seen(0.0, 0.0))
        os.write(person, b"\rYx")
        assert driver(seen(0.0, 0.0)).words == ("go", "success", "discard")
        os.write(person, b"\x1b[C 3")
        action = driver(seen(0.0, 0.0)).action
        assert action is not None
        assert action.tolist() == pytest.approx([0.05, 1.0])
        assert driver(seen(0.0, 0.0)).action[0] > 0  # type: ignore[index]
        clock.sleep(HELD_S)
        assert driver(seen(0.0, 0.0)).action[0] == 0.0  # type: ignore[index]
    assert termios.tcgetattr(place) == before


def test_a_terminal_that_tells_when_keys_are_let_go_is_believed(terminal: tuple[int, int]) -> None:
    person, place = terminal
    clock = FakeClock()
    with Keys(place, clock.now) as keys:
        os.write(person, b"\x1b[97;1:1u\x1b[97;1:3u\x1b[1;1:1C")
        assert keys.pressed() == ["a", "right"]
        clock.sleep(9.0)
        assert keys.pressed() == []
        assert keys.held("right")
        assert not keys.held("a")
        os.write(person, b"\x1b[1;1:3C")
        keys.pressed()
        assert not keys.held("right")
        os.write(person, b"\x1b[99;5u")
        with pytest.raises(KeyboardInterrupt):
            keys.pressed()


def test_a_sequence_that_comes_in_pieces_is_one_key_and_nonsense_is_none(terminal: tuple[int, int]) -> None:
    person, place = terminal
    with Keys(place) as keys:
        os.write(person, b"w\x1b[")
        assert keys.pressed() == ["w"]
        os.write(person, b"A\x1b[5~\x1bq\x1b[1;2;3;4;5;6;7;8;9;0;")
        found = keys.pressed()
        assert found[:2] == ["up", "q"]
        os.write(person, np.random.default_rng(0).integers(4, 127, 3000).astype(np.uint8).tobytes())
        keys.pressed()  # any bytes


def test_no_terminal_is_said() -> None:
    reader, writer = os.pipe()
    with pytest.raises(ConfigError, match="the input is none"):
        Keys(reader)
    os.close(reader)
    os.close(writer)

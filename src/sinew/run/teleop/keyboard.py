"""Keys of a terminal: pushes while they are held, and words."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sinew.core.errors import ConfigError
from sinew.core.types import NumpyObservation
from sinew.run.teleop.controls import SPEEDS, Controls, Wish, Word

PAIRS = (("left", "right"), ("down", "up"), ("s", "w"), ("a", "d"), ("q", "e"), ("v", "f"), ("h", "k"), ("j", "u"))
"""Keys that push the first graded action down and up, the second one, and so on."""
SWITCHES = (" ", "b", "m")
SAID: dict[str, Word] = {"\r": "go", "\n": "go", "y": "success", "n": "failure", "x": "discard", "r": "again"}
HELD_S = 0.15
"""How long a key counts as held after it came, where the terminal does not say when it is let go [s]."""
ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
SEQUENCE = re.compile(r"\x1b(?:\[|O)(?:(\d+)(?:;(\d*)(?::(\d))?)?)?([A-Za-z~])")
RELEASES_ON, RELEASES_OFF = "\x1b[>11u", "\x1b[<u"
"""Ask for, and stop asking for, a word when a key is let go (kitty's keyboard protocol); others ignore it."""


class Keys:
    """The terminal's keys, unbuffered and not echoed; use it in a ``with`` block.

    Args:
        descriptor: of the terminal.
        clock: tells the time [s].

    Raises:
        ConfigError: this is no terminal.
    """

    def __init__(self, descriptor: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self.clock = clock
        if not os.isatty(self.descriptor):
            raise ConfigError("keys are read from a terminal, and the input is none. Start it in one.")
        self._text = ""
        self._came: dict[str, float] = {}
        self._told = False

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self.descriptor)
        tty.setcbreak(self.descriptor)
        os.write(self.descriptor, RELEASES_ON.encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self.descriptor, RELEASES_OFF.encode())
        termios.tcsetattr(self.descriptor, termios.TCSAFLUSH, self._before)

    def pressed(self) -> list[str]:
        """Return the keys that came since the last call, in order; a held key comes again and again.

        Raises:
            KeyboardInterrupt: Ctrl-C was one of them.
        """
        while select.select([self.descriptor], [], [], 0)[0]:
            content = os.read(self.descriptor, 1024)
            if not content:
                break
            self._text += content.decode(errors="ignore")
        keys: list[str] = []
        while self._text:
            key, rest, let_go = _first(self._text)
            if rest is None:
                break
            self._text = rest
            if let_go:
                self._told = True
                self._came.pop(key, None)
            elif key:
                self._came[key] = self.clock()
                keys.append(key)
        return keys

    def held(self, key: str) -> bool:
        """Return whether a key is held down, as far as the terminal tells."""
        came = self._came.get(key)
        return came is not None and (self._told or self.clock() - came < HELD_S)


def _first(text: str) -> tuple[str, str | None, bool]:
    """Return the first key of what came, what comes after it (None: it is not whole yet), and whether it was let go."""
    if text[0] != "\x1b":
        return text[0].lower(), text[1:], False
    match = SEQUENCE.match(text)
    if match is None:
        whole = (len(text) > 1 and text[1] not in "[O") or len(text) > 16
        return "", text[1:] if whole else None, False
    code, modifiers, event, last = match.groups()
    rest, let_go = text[match.end() :], event == "3"
    if last in ARROWS:
        return ARROWS[last], rest, let_go
    if last != "u" or code is None or int(code) > sys.maxunicode:
        return "", rest, let_go
    key = chr(int(code)).lower()
    if key == "c" and (int(modifiers or 1) - 1) & 4:
        raise KeyboardInterrupt
    return key, rest, let_go


class KeyboardTeleop:
    """Drives a robot by keys.

    Args:
        keys: of the terminal.
        controls: of the robot.
    """

    def __init__(self, keys: Keys, controls: Controls) -> None:
        self.keys, self.controls = keys, controls

    def __call__(self, obs: NumpyObservation) -> Wish:
        """Return what the keys say."""
        words: list[Word] = []
        pressed = self.keys.pressed()
        for key in pressed:
            if key in SAID:
                words.append(SAID[key])
            elif key in SWITCHES:
                self.controls.switch(SWITCHES.index(key))
            elif key.isdecimal() and 1 <= int(key) <= len(SPEEDS):
                self.controls.speed = SPEEDS[int(key) - 1]
        pushes = [self._push(up, pressed) - self._push(down, pressed) for down, up in PAIRS]
        return Wish(self.controls.action(pushes), tuple(words))

    def _push(self, key: str, pressed: list[str]) -> float:
        """A key that was tapped between two ticks counts for one."""
        return float(key in pressed or self.keys.held(key))

    def reset(self, obs: NumpyObservation) -> None:
        """Begin a scene."""
        self.controls.reset(obs)

    def help(self) -> list[str]:
        """Return what the keys do, by line."""
        names = {"left": "←", "right": "→", "down": "↓", "up": "↑", " ": "space"}
        moves = [
            f"{names.get(down, down)} {names.get(up, up)} {name}"
            for (down, up), name in zip(PAIRS, self.controls.pushed, strict=False)
        ]
        turns = [f"{names.get(key, key)} {name}" for key, name in zip(SWITCHES, self.controls.switched, strict=False)]
        return ["   ".join([*moves, *turns, "1 2 3 slow to fast"])]


def words_of(keys: Keys) -> tuple[Word, ...]:
    """Return what the keys say, for robots that something else drives."""
    return tuple(SAID[key] for key in keys.pressed() if key in SAID)

"""What a person sees, as a terminal would show it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from envs.fake_robot import SPEC, Slider
from sinew.data.recorder import EpisodeRecorder
from sinew.run.teleop.loop import robot_for
from sinew.run.teleop.screen import Screen, blocks, totals
from sinew.run.teleop.session import Session


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True

    def seen(self) -> list[str]:
        """Return the lines of the last picture without colours."""
        last = self.getvalue().rpartition("\x1b[H")[2]
        return [re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line).strip() for line in last.split("\r\n")]


def test_a_picture_is_two_pixels_a_character() -> None:
    picture = np.zeros((4, 3, 3), np.uint8)
    picture[0, 0] = (255, 1, 2)
    lines = blocks(picture)
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[38;2;255;1;2;48;2;0;0;0m▀")
    assert lines[1].count("▀") == 3
    assert lines[1].count("\x1b") == 1  # a colour that stays is said once


def test_phase_words_and_counts_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "30")
    env = robot_for(Slider(), SPEC, "slide")
    env.rate.period = 0.001
    out = Terminal()
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        session = Session(env, recorder, wanted=2, longest=2, follows=True, task="slide")
        screen = Screen(["how to drive"], out)
        screen.open()
        screen.show(session)
        shown = "\n".join(out.seen())
        assert "slide   train/robot/0" in shown
        assert "READY" in shown
        assert "Enter start" in shown
        assert "how to drive" in shown
        assert max(map(len, out.seen())) <= 59
        session.do("go")
        for _ in range(2):
            session.tick(np.array([0.01, 0.0], np.float32))
        screen.show(session)
        assert "STOPPED" in "\n".join(out.seen())
        assert "Out of time." in "\n".join(out.seen())
        session.do("success")
        assert totals(session) == "slide 1   in all 1 of 2"
        session.do("discard")
        assert "Discarded the last episode" in session.note
        assert totals(session) == "slide 0   in all 0 of 2"
        session.do("again")
        session.do("failure")
        assert session.note == "Another scene."
        screen.close()
    assert out.getvalue().endswith("\x1b[?1049l")

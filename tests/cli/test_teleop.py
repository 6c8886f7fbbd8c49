"""``sinew collect --teleop`` as a user meets it: a function that drives, a robot in a file, and wrong words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.data.formats.ingest import open_source, read_episode, robot_of

PERSON = """
import numpy as np


class Person:
    def reset(self, obs):
        self.ticks = 0

    def __call__(self, obs):
        self.ticks += 1
        return np.zeros(4, np.float32), {1: "go", 5: "success"}.get(self.ticks)


def leader(obs):
    leader.ticks += 1
    return [0.01, 0.0], {1: "go", 4: "success"}.get(leader.ticks)


leader.ticks = 0
"""
ROBOT = """
import dataclasses

from envs.fake_robot import SPEC, Slider


class Arm(Slider):
    spec = dataclasses.replace(SPEC, hz=200.0)
    instruction = "slide over"
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a person and a robot in files."""
    (tmp_path / "my_person.py").write_text(PERSON)
    (tmp_path / "my_arm.py").write_text(ROBOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_person", "my_arm"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_world_is_recorded_and_written_in_another_format(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["collect", "tabletop", "--env.image-size", "16", "--teleop", "my_person.py:Person", "--episodes", "2"]
    assert main([*words, "--tasks", "lift", "--task", "raise", "--to", "hdf5"]) == 0
    shown = capsys.readouterr().out
    for said in (
        "recordings/tabletop: 2 episodes, 2 of them new",
        "raise                       2 episodes",
        "sinew train bc --data recordings/tabletop",
        "Written as hdf5: recordings/tabletop-hdf5",
    ):
        assert said in shown
    assert open_source(place / "recordings" / "tabletop").lengths == (4, 4)
    assert open_source(place / "recordings" / "tabletop-hdf5").lengths == (4, 4)
    assert main([*words, "--to", "hdf5"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_robot_is_recorded(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["collect", "--robot", "my_arm.py:Arm", "--teleop", "my_person.py:leader", "--episodes", "1"]
    assert main([*words, "--out", "set"]) == 0
    assert "set: 1 episodes, 1 of them new" in capsys.readouterr().out
    source = open_source(place / "set")
    episode = read_episode(source, 0, robot_of(source))
    assert (episode.num_frames, episode.instruction, episode.success) == (3, "slide over", True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--teleop", "keyboard"], "start it in a terminal"),
        (["--teleop", "my_person.py:nobody"], "--teleop my_person.py:nobody: my_person.py has no nobody"),
        (["--robot", "my_arm.py:Arm"], "say who drives it"),
        (["--teleop", "my_person.py:Person", "--to", "tape"], "--to tape: there is d4rl, hdf5, lerobot, minari"),
        (["--teleop", "my_person.py:Person", "--tasks", "fly"], "--tasks fly: this world has"),
        (["--teleop", "my_person.py:Person", "--seconds", "0"], "give numbers above 0"),
    ],
)
def test_wrong_words_are_one_message(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "tabletop", *words]) == 2
    assert said in capsys.readouterr().err

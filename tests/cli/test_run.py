"""``sinew run`` as a user meets it: a robot in a file, a tiny policy, limits, a recording, and wrong words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.cli.run import find_robot
from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.files import write_json
from sinew.data.recording import read_ends
from sinew.safety.limits import ShieldLimits
from toy_policy import Export, save_run

ROBOT = """
import numpy as np

class Line:
    instruction = "go left"

    def __init__(self):
        self.position, self.frame = 0.0, 0

    def get_camera_image(self):
        self.frame += 1
        return np.full((8, 8, 3), self.frame % 256, dtype=np.uint8)

    def get_state(self):
        return [self.position, 0.0]

    def execute_action(self, action):
        self.position += float(action[0])

class Silent(Line):
    instruction = ""

    def execute_action(self, action):
        open("moved", "w").close()

class Odd(Line):
    def get_camera_image(self):
        return np.zeros((9, 9, 3), dtype=np.uint8)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a robot, limits and a policy."""
    save_run(tmp_path / "policy")
    (tmp_path / "line_robot.py").write_text(ROBOT)
    write_json(tmp_path / "limits.json", to_dict(ShieldLimits(("move",), ("m",), (0.2,), (1.0,))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_policy_runs_on_a_robot_and_is_recorded(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "policy", "--robot", "line_robot.py:Line", "--seconds", "0.6", "--hz", "20", "--device", "cpu"]
    assert main([*words, "--limits", "limits.json", "--record", "episodes", "--budget", "0.9"]) == 0
    shown = capsys.readouterr().out
    assert "The policy was trained at 10 Hz; at 20 Hz it moves 2 times as fast." in shown
    assert "limits: limits.json" in shown
    assert "Running at 20 Hz: go left." in shown
    assert "ended: time is up." in shown
    written = [read_ends(file)[0] for file in (place / "episodes").iterdir()]
    assert all(beginning.spec["hz"] == 20.0 for beginning in written)
    assert f"{len(written)} episodes recorded in episodes" in shown


@pytest.mark.parametrize("ahead", [False, True])
def test_an_artefact_runs_on_a_robot(
    place: Path, exported: Export, ahead: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _, artefact = exported("mlp")
    words = ["run", str(artefact), "--robot", "line_robot.py:Line", "--seconds", "0.4", "--limits", "limits.json"]
    assert main([*words, "--budget", "0.9", *(["--ahead"] if ahead else [])]) == 0
    assert "ended: time is up." in capsys.readouterr().out


def test_a_robot_with_another_camera_is_refused_before_it_moves(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "policy", "--robot", "line_robot:Odd", "--no-shield", "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert "No shield: nothing limits what the policy sends." in captured.out
    assert "camera front sent an image of shape (9, 9, 3)" in captured.err


def test_a_robot_that_nobody_told_anything_does_not_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "policy", "--robot", "line_robot.py:Silent", "--seconds", "0.3", "--device", "cpu"]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "limits: derived from the action bounds" in captured.out
    assert "--robot line_robot.py:Silent: neither it nor --instruction says what it is to do." in captured.err
    assert not (place / "moved").exists()
    assert main([*words, "--instruction", ""]) == 0
    assert "no instruction" in capsys.readouterr().out
    assert (place / "moved").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("line_robot", "write module:object or file.py:object"),
        ("nowhere.py:Arm", "there is no file nowhere.py"),
        ("nowhere_at_all:Arm", "could not be imported"),
        ("json:Arm", "json has no Arm"),
    ],
)
def test_a_robot_that_cannot_be_found_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConfigError, match=message):
        find_robot(name)


def test_wrong_numbers_and_places_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path), "--robot", "json:loads", "--hz", "-1"]) == 2
    assert "--hz -1: give a number above 0" in capsys.readouterr().err
    assert main(["run", str(tmp_path), "--robot", "json:loads"]) == 2
    assert "no policy here" in capsys.readouterr().err

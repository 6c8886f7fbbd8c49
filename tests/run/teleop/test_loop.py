"""Somebody drives the arm, keeps, discards and repeats; what comes out is read like any other data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.fake_robot import SPEC, Slider
from sinew.cli.main import main
from sinew.cli.teleop import lines
from sinew.core.config import to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import write_json
from sinew.core.types import NumpyObservation
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.recording import Recording
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run.teleop.controls import Wish
from sinew.run.teleop.loop import Plan, record, robot_for, shield_for, understand, world_for
from sinew.safety.limits import ShieldLimits

WORLD = TabletopConfig(image_size=16, objects=2, colours=2, shapes=2, zones=1, mid_starts=0.0)


class Scripted:
    """A person who follows the expert, and says a word at given ticks of their episodes.

    Args:
        verdicts: word that ends each episode, in order; "" lets the world end it.
    """

    def __init__(self, *verdicts: str) -> None:
        self.expert = WORLD.expert()
        self.verdicts = list(verdicts)
        self.scenes = 0

    def reset(self, obs: NumpyObservation) -> None:
        """Begin a scene."""
        self.scenes += 1
        self.ticks = -1
        self.driving = False

    def __call__(self, obs: NumpyObservation) -> Any:  # noqa: ANN401
        """Start, drive for at least six ticks, say the verdict."""
        action = self.expert.select_action(obs)[0]
        if not self.driving:
            self.driving = True
            return None, "go"
        self.ticks += 1
        if self.verdicts[0]:
            return (action, self.verdicts.pop(0)) if self.ticks == 6 else action
        if self.ticks > 200:
            self.verdicts.pop(0)
            return None, "go"  # keep what the world says
        return action


def test_a_scripted_person_records_three_and_discards_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = Scripted("success", "discard", "failure", "success", "")
    done = record(world_for(WORLD), person, Plan(tmp_path / "set", wanted=3, tasks=("lift", "touch")))
    assert (done.episodes, done.new, sum(done.tasks.values())) == (3, 3, 3)
    assert person.scenes == 4
    assert "Discarded." in capsys.readouterr().out
    source = open_source(tmp_path / "set")
    spec = robot_of(source)
    found = [read_episode(source, number, spec) for number in range(3)]
    assert [one.success for one in found] == [True, False, True]
    assert {one.task for one in found} == {"lift", "touch"}
    assert len({one.id for one in found}) == 3
    for one in found:
        assert one.num_frames == 6
        assert one.images["front"].any()
        assert set(one.targets) == {"target", "goal"}
        assert one.final_state is not None
    assert main(["data", "info", str(tmp_path / "set")]) == 0
    shown = capsys.readouterr().out
    assert "recording" in shown
    assert "18, 6 to 6 each" in shown
    store = open_dataset(tmp_path / "set", into=tmp_path / "stores")
    assert store.num_episodes == 3
    np.testing.assert_array_equal(store.episode(1).action, found[1].action)
    again = record(world_for(WORLD), Scripted("success"), Plan(tmp_path / "set", wanted=4, tasks=("lift", "touch")))
    assert (again.episodes, again.new) == (4, 1)


def test_the_world_proposes_and_enter_keeps(tmp_path: Path) -> None:
    class Patient(Scripted):
        def __call__(self, obs: NumpyObservation) -> Any:  # noqa: ANN401
            if not self.driving:
                self.driving = True
                return None, "go"
            self.ticks += 1
            return (None, "go") if self.ticks == 120 else self.expert.select_action(obs)[0]

    record(world_for(WORLD), Patient(), Plan(tmp_path, wanted=1, tasks=("touch",)))
    source = open_source(tmp_path)
    episode = read_episode(source, 0, robot_of(source))
    assert episode.success
    assert episode.terminated
    assert episode.num_frames < 120


class Sliding:
    """A person who pushes a slider, says when, and ends after two episodes by an interrupt."""

    def __init__(self) -> None:
        self.ticks = 0

    def __call__(self, obs: NumpyObservation) -> tuple[NDArray[np.float32], str | None]:
        """Push."""
        self.ticks += 1
        words = {3: "go", 7: "success", 9: "go"}
        if self.ticks == 12:
            raise KeyboardInterrupt
        return np.array([9.0, 0.2], np.float32), words.get(self.ticks)


def test_a_robot_follows_between_episodes_and_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    robot = Slider()
    env = robot_for(robot, SPEC, "slide")
    env.rate.period = 0.001
    done = record(env, Sliding(), Plan(tmp_path, task="slide"))
    assert done.tasks == {"slide": 2}
    source = Recording(tmp_path)
    found = [read_episode(source, number, robot_of(source)) for number in range(2)]
    assert [(one.num_frames, one.success, one.instruction) for one in found] == [
        (4, True, "slide"),
        (3, False, "slide"),
    ]
    assert len(robot.commands) == 10
    np.testing.assert_allclose(found[0].action, [[0.05, 0.0]] * 4)  # within the bounds
    np.testing.assert_allclose(robot.commands[0], [0.05, 0.0])
    assert robot.stops == 1


class Letting(Sliding):
    """The same person, who lets go for a while."""

    def __call__(self, obs: NumpyObservation) -> Any:  # noqa: ANN401
        """Push, and let go from the fifth tick to the end."""
        action, word = super().__call__(obs)
        return (None if self.ticks >= 5 else action), word


def test_teleoperation_goes_through_the_shield_where_the_robot_has_limits(tmp_path: Path) -> None:
    robot = Slider()
    robot.limits = ShieldLimits(("dx",), ("m",), (0.4,), (1.0,))  # type: ignore[attr-defined]
    env = robot_for(robot, SPEC, "slide")
    env.rate.period = 0.001
    done = record(env, Letting(), Plan(tmp_path, task="slide"))
    moves = [command[0] for command in robot.commands]
    np.testing.assert_allclose(moves, [0.01, 0.02, 0.03, 0.04, 0.03, 0.02, 0.0], atol=1e-6)
    assert done.changed == 4
    source = Recording(tmp_path)
    first = read_episode(source, 0, robot_of(source))
    np.testing.assert_allclose(first.action[:, 0], moves[2:6], atol=1e-6)
    assert "The shield changed what was wanted in 4 ticks" in " ".join(lines(done))


def test_limits_of_a_file_come_before_the_robots_own_and_must_be_some(tmp_path: Path) -> None:
    robot = Slider()
    env = robot_for(robot, SPEC, "slide")
    assert shield_for(env, None) is None
    write_json(tmp_path / "limits.json", to_dict(ShieldLimits(("dx",), ("m",), (0.2,), (1.0,))))
    robot.limits = tmp_path / "limits.json"  # type: ignore[attr-defined]
    own = shield_for(env, None)
    assert own is not None
    assert own.limits.velocity == (0.2,)
    robot.limits = 3.0  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="the robot's limits are float; ShieldLimits or the path of a file"):
        shield_for(env, None)
    assert shield_for(env, tmp_path / "limits.json") is not None


def test_what_a_function_says_is_understood_or_refused() -> None:
    assert understand(None, SPEC) == Wish()
    assert understand((None, "go"), SPEC) == Wish(None, ("go",))
    wish = understand(([0.01, 1.0], "again"), SPEC)
    assert wish.words == ("again",)
    assert wish.action is not None
    for said, words in (
        ([1.0], "2 finite values"),
        ([np.nan, 0.0], "2 finite values"),
        ("left", "returned str, no action"),
        (([0.0, 0.0], "stop"), "says 'stop'; there is go, success"),
    ):
        with pytest.raises(DataError, match=words):
            understand(said, SPEC)


def test_a_robot_must_say_what_it_is_and_what_it_is_told() -> None:
    with pytest.raises(ConfigError, match="no spec"):
        robot_for(Slider(), None, "go")
    with pytest.raises(ConfigError, match="--instruction"):
        robot_for(Slider(), SPEC, None)

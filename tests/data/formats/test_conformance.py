from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.formats.fuzzing import TARGETS, attack
from data.formats.recordings import SPEC, cut_in_half, smooth_episode
from data.formats.samples import SAMPLES
from sinew.core.errors import DataError, SpecError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats import FORMATS, WRITERS
from sinew.data.formats.ingest import open_source, read_episode, robot_of

CASES = [(name, storage) for name, kind in WRITERS.items() for storage in kind.storages]


def spec_for(storage: str) -> RobotSpec:
    """Return the robot, without cameras where the format cannot hold images."""
    return dataclasses.replace(SPEC, cameras={}) if storage == "none" else SPEC


def episodes_for(storage: str) -> list[Episode]:
    return [smooth_episode(number, spec=spec_for(storage)) for number in range(3)]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    name, storage = request.param
    path = tmp_path_factory.mktemp(name) / f"{name}.data"
    WRITERS[name].write(path, episodes_for(storage), storage=storage)
    return name, storage, path


@pytest.fixture
def copied(written: tuple[str, str, Path], tmp_path: Path) -> tuple[str, str, Path]:
    name, storage, path = written
    return name, storage, Path((shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name))


def test_what_is_written_reads_back_the_same(written: tuple[str, str, Path]) -> None:
    name, storage, path = written
    source = open_source(path)
    assert isinstance(source, WRITERS[name])
    spec = robot_of(source)
    assert spec == spec_for(storage)
    assert source.judged
    episodes = episodes_for(storage)
    assert source.lengths == tuple(episode.num_frames for episode in episodes)
    for number, episode in enumerate(episodes):
        back = read_episode(source, number, spec)
        np.testing.assert_array_equal(back.state, episode.state)
        np.testing.assert_array_equal(back.action, episode.action)
        np.testing.assert_array_equal(back.executed, episode.action)
        assert (back.instruction, back.task, back.success) == (episode.instruction, episode.task, episode.success)
        for camera, images in episode.images.items():
            difference = np.abs(back.images[camera].astype(int) - images)
            assert difference.max() == 0 if storage == "image" else difference.mean() < 6


def test_episodes_can_be_read_in_any_order(written: tuple[str, str, Path]) -> None:
    source = open_source(written[2])
    spec = robot_of(source)
    forward = [source.episode(number, spec) for number in range(3)]
    for number in (2, 0, 1):
        again = source.episode(number, spec)
        for camera, images in forward[number].images.items():
            np.testing.assert_array_equal(again.images[camera], images)
        np.testing.assert_array_equal(again.action, forward[number].action)


def test_reach_is_the_range_of_all_actions(written: tuple[str, str, Path]) -> None:
    actions = np.concatenate([episode.action for episode in episodes_for(written[1])])
    low, high = open_source(written[2]).reach()
    np.testing.assert_array_equal(low, actions.min(axis=0))
    np.testing.assert_array_equal(high, actions.max(axis=0))


def test_a_file_that_was_cut_off_is_refused_by_name(copied: tuple[str, str, Path]) -> None:
    for file in open_source(copied[2]).files:
        if file.name == "stats.json":  # for other readers
            continue
        whole = file.read_bytes()
        cut_in_half(file)
        with pytest.raises(DataError, match=file.name):
            read_all(copied[2])
        file.write_bytes(whole)
    read_all(copied[2])


def read_all(path: Path) -> None:
    source = open_source(path)
    spec = robot_of(source)
    for number in range(len(source.lengths)):
        read_episode(source, number, spec)


def test_writing_over_something_is_refused(copied: tuple[str, str, Path]) -> None:
    with pytest.raises(DataError, match="something here already"):
        WRITERS[copied[0]].write(copied[2], episodes_for(copied[1]), storage=copied[1])


@pytest.mark.parametrize(("name", "storage"), CASES)
def test_a_failed_write_leaves_nothing(name: str, storage: str, tmp_path: Path) -> None:
    spec = spec_for(storage)
    other = smooth_episode(1, spec=dataclasses.replace(spec, embodiment="other"))
    bad = smooth_episode(1, spec=spec, state=np.full((6, 2), np.nan, np.float32))
    learner = smooth_episode(1, spec=spec, label_horizon=1)
    for second, kind, words in (
        (other, SpecError, "embodiment"),
        (bad, DataError, "state.x"),
        (learner, DataError, "1 steps"),
    ):
        with pytest.raises(kind, match=words):
            WRITERS[name].write(tmp_path / "out", [episodes_for(storage)[0], second], storage=storage)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no episodes"):
        WRITERS[name].write(tmp_path / "out", [], storage=storage)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "storage"), CASES)
def test_a_robot_without_state_and_with_one_action_round_trips(name: str, storage: str, tmp_path: Path) -> None:
    nothing = {"state": (), "state_units": (), "binary": ()}
    spec = dataclasses.replace(
        spec_for(storage), action=("dx",), action_units=("m",), low=(-1.0,), high=(1.0,), **nothing
    )
    whole = smooth_episode(0)
    action = whole.action[:, :1].copy()
    episode = smooth_episode(0, spec=spec, state=np.zeros((5, 0), np.float32), action=action, executed=action)
    WRITERS[name].write(tmp_path / "out", [episode], storage=storage)
    source = open_source(tmp_path / "out")
    assert robot_of(source) == spec
    np.testing.assert_array_equal(read_episode(source, 0, spec).action, action)


def test_every_format_that_is_only_read_has_a_sample() -> None:
    assert set(SAMPLES) >= set(FORMATS) - set(WRITERS)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_known_by_its_looks_and_read_in_any_order(name: str, tmp_path: Path) -> None:
    source = open_source(SAMPLES[name](tmp_path))
    assert isinstance(source, FORMATS[name])
    spec = robot_of(source)
    count = len(source.lengths)
    assert count == len(source.instructions) == len(source.tasks) >= 2
    forward = [read_episode(source, number, spec) for number in range(count)]
    assert tuple(episode.num_frames for episode in forward) == source.lengths
    assert len({episode.id for episode in forward}) == count
    for number in reversed(range(count)):
        again = read_episode(source, number, spec)
        np.testing.assert_array_equal(again.action, forward[number].action)
        for camera, images in again.images.items():
            np.testing.assert_array_equal(images, forward[number].images[camera])
    actions = np.concatenate([episode.action for episode in forward])
    np.testing.assert_array_equal(source.reach(), [actions.min(axis=0), actions.max(axis=0)])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_cut_off_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = SAMPLES[name](tmp_path)
    for file in open_source(path).files:
        whole = file.read_bytes()
        cut_in_half(file)
        with pytest.raises(DataError) as caught:
            read_all(path)
        assert str(path) in str(caught.value) or str(file) in str(caught.value)
        file.write_bytes(whole)
    read_all(path)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    outcome = attack(TARGETS[name], tmp_path, range(40))
    assert outcome.failures == []
    assert outcome.rounds == 40
    assert outcome.refused > 5


@pytest.mark.parametrize(("name", "number"), [("mcap", 7387), ("lerobot 2", 9503), ("vd4rl", 7450), ("vd4rl", 49423)])
def test_damages_that_were_once_neither_read_nor_refused_are_refused(name: str, number: int, tmp_path: Path) -> None:
    outcome = attack(TARGETS[name], tmp_path, range(number, number + 1), seed=20261121)
    assert outcome.failures == []

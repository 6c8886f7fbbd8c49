from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.formats.recordings import GOLDEN, SPEC, change_json, cut_in_half, smooth_episode
from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from sinew.data.config import IngestConfig
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.minari import Minari

UNSAID = {"embodiment": "toy", "hz": 20, "kind": "delta"}
"""What Minari does not say."""
MAIN = "data/main_data.hdf5"


def golden(name: str, tmp_path: Path, **said: Any) -> Path:  # noqa: ANN401
    """Return a copy of a dataset that Minari 0.5.4 wrote, completed by what it does not say."""
    path = shutil.copytree(GOLDEN / name, tmp_path / name)
    (path / "spec.json").write_text(json.dumps(UNSAID | said))
    return path


def read_all(path: Path) -> None:
    source = open_source(path)
    spec = robot_of(source)
    for number in range(len(source.lengths)):
        read_episode(source, number, spec)


def test_one_array_of_observations_is_the_state_and_its_last_row_the_final_one(tmp_path: Path) -> None:
    path = golden("minari_state", tmp_path)
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert isinstance(source, Minari)
    assert source.lengths == (4, 5, 6)
    assert source.judged
    assert source.unread == ("infos/energy",)
    spec = robot_of(source)
    assert spec.state == ("observation_0", "observation_1", "observation_2")
    assert set(spec.state_units) == {"raw"}
    assert (spec.low, spec.high) == ((-1.0, -1.0), (1.0, 1.0))
    assert source.facts.said.embodiment == "CartPole-v1"
    starts = (0, 4, 9)
    for number, length in enumerate(source.lengths):
        episode = read_episode(source, number, spec)
        rows = slice(starts[number] + number, starts[number] + number + length + 1)
        seen = expected["observation"][rows].astype(np.float32)
        np.testing.assert_array_equal(episode.state, seen[:-1])
        np.testing.assert_array_equal(episode.final_state, seen[-1])
        steps = slice(starts[number], starts[number] + length)
        np.testing.assert_array_equal(episode.action, expected["action"][steps])
        np.testing.assert_array_equal(episode.reward, expected["reward"][steps].astype(np.float32))
        assert episode.terminated == episode.success == (number == 1) == expected["terminated"][number]


@pytest.mark.parametrize("name", ["minari_raw", "minari_jpeg"])
def test_parts_of_observations_are_state_cameras_sentence_and_sensors(name: str, tmp_path: Path) -> None:
    heights = {"shape": [3, 4], "unit": "m", "hz": 20, "dtype": "int16"}
    path = golden(name, tmp_path, sensors={"heights": heights})
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert source.unread == ("infos/energy", "observations/heights")
    assert source.instructions == ("go left", "go right")
    spec = robot_of(source)
    assert spec.state[:3] == ("desired_goal.0", "desired_goal.1", "observation.0")
    assert spec.sensors["heights"] == SensorSpec((3, 4), "m", 20.0, dtype="int16")
    start = 0
    for number, length in enumerate(source.lengths):
        episode, rows = read_episode(source, number, spec), slice(start, start + length)
        state = np.concatenate([expected["desired_goal"], expected["observation"]], axis=1).astype(np.float32)
        np.testing.assert_array_equal(episode.state, state[rows])
        np.testing.assert_array_equal(episode.final_state, state[start + length])
        np.testing.assert_array_equal(episode.sensors["heights"], expected["heights"][rows])
        np.testing.assert_array_equal(episode.images["image"].transpose(0, 2, 3, 1), expected["image"][rows])
        start += length + 1


def test_columns_choose_what_the_state_is(tmp_path: Path) -> None:
    path = golden("minari_raw", tmp_path, state=["x"], state_units=["m"])
    (path / "columns.json").write_text(json.dumps({"state": ["observation[1:2]"]}))
    source = open_source(path)
    expected = np.load(path / "expected.npz")["observation"][:2, 1:2].astype(np.float32)
    np.testing.assert_array_equal(read_episode(source, 0, robot_of(source)).state, expected)


def test_a_data_set_of_states_becomes_a_store(tmp_path: Path) -> None:
    store = open_dataset(golden("minari_state", tmp_path), into=tmp_path / "stores")
    assert store.episode(1).terminated
    assert store.episode(1).reward is not None
    assert store.episode(1).final_state is not None


def test_a_data_set_of_images_needs_a_sentence(tmp_path: Path) -> None:
    path = golden("minari_raw", tmp_path)
    with h5py.File(path / MAIN, "a") as file:
        del file["episode_0/observations/mission"], file["episode_1/observations/mission"]
    with pytest.raises(DataError, match="instruction is empty in 2 of 2"):
        open_dataset(path, into=tmp_path / "stores")
    store = open_dataset(path, into=tmp_path / "stores", config=IngestConfig(instruction="go"))
    assert store.records[0].instruction == "go"


def test_what_only_we_say_round_trips(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, sensors={"force": SensorSpec((2,), "N", 100.0)})
    episodes = [
        smooth_episode(
            number,
            spec=spec,
            sensors={"force": np.full((5 + number, 2), number, np.float32)},
            reward=np.arange(5 + number, dtype=np.float32) if number else None,
            terminated=number == 1,
            final_state=np.ones(2, np.float32) if number else None,
        )
        for number in range(2)
    ]
    Minari.write(tmp_path / "out", episodes)
    source = open_source(tmp_path / "out")
    assert robot_of(source) == spec
    for number, episode in enumerate(episodes):
        back = read_episode(source, number, spec)
        np.testing.assert_array_equal(back.sensors["force"], episode.sensors["force"])
        np.testing.assert_array_equal(back.reward, episode.reward)
        np.testing.assert_array_equal(back.final_state, episode.final_state)
        assert back.terminated == episode.terminated


def without(name: str) -> Any:  # noqa: ANN401
    def change(file: Any) -> None:  # noqa: ANN401
        del file[name]

    return change


def replaced(name: str, values: Any) -> Any:  # noqa: ANN401
    def change(file: Any) -> None:  # noqa: ANN401
        del file[name]
        file[name] = values

    return change


DAMAGES = {
    "no rewards": (without("episode_1/rewards"), "episode_1 has no rewards"),
    "no episode": (without("episode_1"), "holds 1 episodes, metadata.json counts 2"),
    "few actions": (replaced("episode_1/actions", np.zeros((1, 2), np.float32)), "episode_1: actions has shape"),
    "discrete": (replaced("episode_1/actions", np.zeros((2, 2), np.int64)), "actions is int64, floating point"),
    "wide": (replaced("episode_1/actions", np.zeros((2, 3), np.float32)), "actions has shape"),
    "no image": (without("episode_1/observations/image"), "episode_1 has no observations/image"),
    "image": (replaced("episode_1/observations/image", np.zeros((3, 9, 9, 3), np.uint8)), "is of shape"),
    "sentence": (
        replaced("episode_1/observations/mission", ["a", "b", "b"]),
        "episode_1, frame 1: observations/mission changes from b'a' to b'b'",
    ),
    "not a number": (replaced("episode_1/actions", np.full((2, 2), np.nan)), "frame 0: action.action_0 is nan"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_by_file_and_episode(name: str, tmp_path: Path) -> None:
    change, words = DAMAGES[name]
    path = golden("minari_raw", tmp_path)
    with h5py.File(path / MAIN, "a") as file:
        change(file)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_picture_that_was_cut_off_is_named_by_its_frame(tmp_path: Path) -> None:
    path = golden("minari_jpeg", tmp_path)
    with h5py.File(path / MAIN, "a") as file:
        pictures = file["episode_1/observations/image"]
        pictures[1] = pictures[1][:40] if pictures.dtype.kind == "O" else np.zeros(pictures.shape[1], np.uint8)
    with pytest.raises(DataError, match=r"episode_1: observations/image, frame 1: not a readable image"):
        read_all(path)


def test_metadata_that_is_no_minari_is_refused(tmp_path: Path) -> None:
    path = golden("minari_state", tmp_path)
    change_json(path / "data/metadata.json", observation_space="{")
    with pytest.raises(DataError, match=r"metadata\.json: observation_space is not JSON"):
        open_source(path)
    cut_in_half(path / "data/metadata.json")
    with pytest.raises(DataError, match=r"metadata\.json: not valid JSON"):
        open_source(path)

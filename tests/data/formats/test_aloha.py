from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.formats.samples import aloha, smooth
from sinew.core.errors import DataError
from sinew.data.episode import Episode
from sinew.data.formats.aloha import Aloha
from sinew.data.formats.ingest import open_source, read_episode, robot_of


def read_all(path: Path) -> list[Episode]:
    source = open_source(path)
    spec = robot_of(source)
    return [read_episode(source, number, spec) for number in range(len(source.lengths))]


def change_first(path: Path) -> Any:  # noqa: ANN401
    return h5py.File(path / "episode_0.hdf5", "a")


def test_what_the_layout_says_is_read(tmp_path: Path) -> None:
    path = aloha(tmp_path)
    source = open_source(path)
    assert isinstance(source, Aloha)
    spec = robot_of(source)
    assert (spec.action[0], spec.action[6], spec.state[13]) == ("left_waist", "left_gripper", "right_gripper")
    assert source.unread == ("observations/qvel",)
    for number, episode in enumerate(read_all(path)):
        with h5py.File(path / f"episode_{number}.hdf5") as file:
            np.testing.assert_array_equal(episode.action, file["action"])
            np.testing.assert_array_equal(episode.state, file["observations/qpos"])
        np.testing.assert_array_equal(
            episode.images["cam_high"].transpose(0, 2, 3, 1), smooth(episode.num_frames, seed=number)
        )


def test_rows_of_jpeg_are_decoded(tmp_path: Path) -> None:
    for episode, number in zip(read_all(aloha(tmp_path, packed=True)), range(2), strict=True):
        images = episode.images["cam_left_wrist"].transpose(0, 2, 3, 1).astype(int)
        assert np.abs(images - smooth(episode.num_frames, seed=number)).mean() < 2


def test_channels_swapped_by_opencv_are_put_back(tmp_path: Path) -> None:
    path = aloha(tmp_path, packed=True)
    plain = read_all(path)[0].images["cam_high"]
    (path / "columns.json").write_text('{"bgr": ["cam_high"]}')
    swapped = read_all(path)[0]
    np.testing.assert_array_equal(swapped.images["cam_high"], plain[:, ::-1])
    assert path / "columns.json" in open_source(path).files


def test_velocities_and_a_base_come_in_by_columns(tmp_path: Path) -> None:
    path = aloha(tmp_path)
    for number, frames in enumerate((3, 4)):
        with h5py.File(path / f"episode_{number}.hdf5", "a") as file:
            file["base_action"] = np.ones((frames, 2), np.float32)
            file["language_raw"] = np.array([b"hand it over"])
    choice = {"state": ["observations/qpos[0:7]", "observations/qvel[0:7]"], "action": ["action", "base_action"]}
    (path / "columns.json").write_text(json.dumps(choice | {"instruction": "language_raw"}))
    said = json.loads((path / "spec.json").read_text()) | {"action_units": ["1"] * 16, "low": [-1] * 16}
    (path / "spec.json").write_text(json.dumps(said | {"high": [2] * 16}))
    source = open_source(path)
    assert source.facts.said.action is not None
    assert source.facts.said.action[-3:] == ("action.13", "base_action.0", "base_action.1")
    episode = read_all(path)[0]
    assert episode.instruction == "hand it over"
    assert episode.state.shape == (3, 14)
    np.testing.assert_array_equal(episode.action[:, 14:], 1)


def test_ten_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = aloha(tmp_path)
    whole = (path / "episode_0.hdf5").read_bytes()
    for number in range(2, 12):
        (path / f"episode_{number}.hdf5").write_bytes(whole)
    assert [one.id for one in read_all(path)] == [f"episode_{number}" for number in range(12)]


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = aloha(tmp_path, packed=True)
    with change_first(path) as file:
        file["observations/images/cam_high"][2] = 0
    with pytest.raises(DataError, match=r"episode_0.hdf5: .*cam_high, frame 2: not a readable image"):
        read_all(path)
    with change_first(path) as file:
        del file["observations/images/cam_high"]
        file["observations/images/cam_high"] = np.zeros((3, 0), np.uint8)
    with pytest.raises(DataError, match=r"cam_high has shape \(3, 0\)"):
        read_all(path)
    with change_first(path) as file:
        del file["observations/images/cam_high"], file["observations/qpos"]
        file["observations/qpos"] = np.zeros((2, 14))
    with pytest.raises(DataError, match=r"episode_0.hdf5: .*columns differ in length"):
        read_all(path)

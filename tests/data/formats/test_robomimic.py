from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.formats.samples import robomimic, robot, smooth
from sinew.core.errors import DataError
from sinew.data.episode import Episode
from sinew.data.formats.ingest import open_source, read_episode, robot_of
from sinew.data.formats.robomimic import Robomimic


def read_all(path: Path) -> list[Episode]:
    source = open_source(path)
    spec = robot_of(source)
    return [read_episode(source, number, spec) for number in range(len(source.lengths))]


def test_what_the_layout_says_is_read(tmp_path: Path) -> None:
    path = robomimic(tmp_path)
    source = open_source(path)
    assert isinstance(source, Robomimic)
    spec = robot_of(source)
    assert (spec.embodiment, spec.hz) == ("Panda", 20.0)
    assert spec.state[:4] == ("robot0_eef_pos.0", "robot0_eef_pos.1", "robot0_eef_pos.2", "robot0_gripper_qpos.0")
    assert source.unread == ("obs/agentview_depth", "obs/object", "states")
    assert not source.judged
    with h5py.File(path) as file:
        for number, episode in enumerate(read_all(path)):
            demo: Any = file[f"data/demo_{number}"]
            np.testing.assert_array_equal(episode.action, demo["actions"][:].astype(np.float32))
            columns = ("robot0_eef_pos", "robot0_gripper_qpos")
            for group, rows in (("obs", episode.state), ("next_obs", episode.final_state)):
                wanted = np.concatenate([demo[f"{group}/{name}"][:] for name in columns], axis=1).astype(np.float32)
                np.testing.assert_array_equal(rows, wanted if group == "obs" else wanted[-1])
            images = episode.images["agentview_image"].transpose(0, 2, 3, 1)
            np.testing.assert_array_equal(images, demo["obs/agentview_image"][:])
            np.testing.assert_array_equal(episode.reward, demo["rewards"][:])
            assert episode.terminated
            assert episode.held_out == (number == 2)


def test_depth_is_a_sensor_where_the_spec_names_it(tmp_path: Path) -> None:
    path = robomimic(tmp_path)
    spec_file = path.with_suffix(".spec.json")
    said = json.loads(spec_file.read_text())
    said["sensors"] = {"agentview_depth": {"shape": [4, 5], "unit": "1", "hz": 20}}
    spec_file.write_text(json.dumps(said))
    with h5py.File(path) as file:
        wanted: Any = file["data/demo_0/obs/agentview_depth"]
        np.testing.assert_array_equal(read_all(path)[0].sensors["agentview_depth"], wanted[..., 0])


def libero(path: Path, sentence: Any, demos: int = 2) -> Path:  # noqa: ANN401
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": sentence})
        for number in range(demos):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = np.random.default_rng(number).uniform(-1, 1, (3, 2))
            demo["obs/gripper_states"], demo["obs/joint_states"] = np.zeros((3, 2)), np.ones((3, 7))
            demo["obs/ee_pos"] = np.zeros((3, 3))
            demo["obs/agentview_rgb"] = smooth(3)
    return path


def test_a_directory_of_libero_has_a_sentence_a_file(tmp_path: Path) -> None:
    libero(tmp_path / "put_it_down_demo.hdf5", list("put it down"), demos=11)
    libero(tmp_path / "lift_it_demo.hdf5", "lift it")
    (tmp_path / "spec.json").write_text(robot("ab", state=None, state_units=["m"] * 9))
    (tmp_path / "columns.json").write_text('{"upside_down": ["agentview_rgb"]}')
    source = open_source(tmp_path)
    assert source.instructions == ("lift it",) * 2 + ("put it down",) * 11
    episodes = read_all(tmp_path)
    assert [one.id for one in episodes][-3:] == [f"put_it_down_demo/demo_{number}" for number in (8, 9, 10)]
    np.testing.assert_array_equal(episodes[0].state[0], [0, 0, 1, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(episodes[0].images["agentview_rgb"].transpose(0, 2, 3, 1), smooth(3)[:, ::-1])


def test_robocasa_says_the_sentence_of_each_demo(tmp_path: Path) -> None:
    path = robomimic(tmp_path)
    with h5py.File(path, "a") as file:
        file["data/demo_1"].attrs["ep_meta"] = json.dumps({"lang": "open the door"})
    assert open_source(path).instructions == ("", "open the door", "")


def put(name: str, value: Any) -> Callable[[Any], None]:  # noqa: ANN401
    """Return a change of the second demo: another array, or none."""

    def change(file: Any) -> None:  # noqa: ANN401
        del file[f"data/demo_1/{name}"]
        if value is not None:
            file[f"data/demo_1/{name}"] = value

    return change


def never_written(file: Any) -> None:  # noqa: ANN401
    del file["data/demo_1/actions"]
    file["data/demo_1"].create_dataset("actions", (3, 2), "f4")


def endless(file: Any) -> None:  # noqa: ANN401
    name = "data/demo_1/obs/robot0_eef_pos"
    del file[name]
    file.create_dataset(name, (10**9, 3), "f8", chunks=(8, 3), compression="gzip")[:8] = 1


BAD = {
    "no action": (put("actions", None), "demo_1 has no actions"),
    "integers": (put("actions", np.zeros((3, 2), int)), "demo_1: actions is int64, floating point"),
    "empty": (put("actions", np.zeros((0, 2))), "demo_1: has no frames"),
    "shorter": (put("obs/robot0_eef_pos", np.zeros((2, 3))), "demo_1: columns differ in length"),
    "fewer values": (put("obs/robot0_eef_pos", np.zeros((3, 2))), "has 2 values a frame, demo_0 has 3"),
    "fewer images": (put("obs/agentview_image", smooth(2)), "demo_1: columns differ in length"),
    "other size": (put("obs/agentview_image", smooth(3, 8, 8)), "frame 0: has shape (8, 8, 3), the first image"),
    "float images": (put("obs/agentview_image", smooth(3) / 255), "obs/agentview_image, frame 0: is float64"),
    "not a number": (put("actions", np.full((3, 2), np.nan)), "demo_1, frame 0: action.a is nan"),
    "a group": (lambda file: file["data/demo_1"].move("obs/object", "actions/object"), "actions"),
    "never written": (never_written, "actions claims 24 bytes, but 0 lie in the file"),
    "endless": (endless, "robot0_eef_pos claims 24000000000 bytes"),
    "no JSON": (lambda file: file["data"].attrs.modify("env_args", "{"), "attribute env_args is not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_demos_are_named(name: str, tmp_path: Path) -> None:
    change, words = BAD[name]
    path = robomimic(tmp_path)
    path.with_suffix(".spec.json").write_text(
        robot("ab", low=[-1, -1], high=[1, 1], state=None, state_units=["m"] * 5, embodiment=None, hz=None)
    )
    with h5py.File(path, "a") as file:
        if name == "a group":
            del file["data/demo_1/actions"]
        change(file)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)

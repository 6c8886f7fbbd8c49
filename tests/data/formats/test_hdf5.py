from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of

T = 4
SAID = {
    "embodiment": "arm", "hz": 10, "kind": "absolute", "state": ["q"], "state_units": ["rad"],
    "action": ["a", "b"], "action_units": ["rad", "rad"], "low": "data", "high": "data",
}  # fmt: skip


def recorded(path: Path, episodes: int = 3, **changes: Any) -> Path:  # noqa: ANN401
    """Write a file as the guide describes it; the changes are of the last episode, None leaves an array out."""
    with h5py.File(path, "w") as file:
        for number in range(episodes):
            rng = np.random.default_rng(number)
            content: dict[str, Any] = {
                "images": rng.integers(0, 256, (T, 8, 10, 3), dtype=np.uint8),
                "actions": rng.uniform(-1, 1, (T, 2)),
                "robot_state": rng.normal(size=(T, 1)),
                "instruction": "pick up the part",
                "success": True,
            }
            if number == episodes - 1:
                content |= changes
            group = file.create_group(f"episode_{number}")
            for name in [name for name, value in content.items() if value is not None]:
                group.create_dataset(name, data=content[name])
    path.with_suffix(".spec.json").write_text(json.dumps(SAID))
    return path


def read_last(path: Path) -> None:
    source = open_source(path)
    read_episode(source, len(source.lengths) - 1, robot_of(source))


def test_the_guides_layout_is_read_with_all_five_arrays(tmp_path: Path) -> None:
    path = recorded(tmp_path / "demos.hdf5", success=False)
    source = open_source(path)
    spec = robot_of(source)
    episode = read_episode(source, 2, spec)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(episode.images["camera"], file["episode_2/images"][:].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(episode.action, file["episode_2/actions"][:].astype(np.float32))
        np.testing.assert_array_equal(episode.state, file["episode_2/robot_state"][:].astype(np.float32))
    assert episode.instruction == episode.task == "pick up the part"
    assert not episode.success
    assert episode.id == "episode_2"


def test_ten_episodes_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    source = Hdf5(recorded(tmp_path / "demos.hdf5", episodes=11))
    assert source.names == tuple(f"episode_{number}" for number in range(11))


def test_a_file_of_the_guides_own_writer_needs_a_word_on_the_state_it_dropped(tmp_path: Path) -> None:
    path = recorded(tmp_path / "demos.hdf5", episodes=1, robot_state=None, success=None)
    spec_file = path.with_suffix(".spec.json")
    bare = {name: value for name, value in SAID.items() if not name.startswith("state")}
    spec_file.write_text(json.dumps(bare))
    with pytest.raises(DataError, match=r"the data hold none: \[\] trains without"):
        read_last(path)
    spec_file.write_text(json.dumps(bare | {"state": []}))
    store = open_dataset(path, into=tmp_path / "stores")
    assert store.episode(0).state.shape == (T, 0)
    assert store.episode(0).success


def test_the_only_camera_takes_the_name_in_the_spec(tmp_path: Path) -> None:
    path = recorded(tmp_path / "demos.hdf5")
    focal = {"intrinsics": [10, 10, 5, 4]}
    path.with_suffix(".spec.json").write_text(json.dumps(SAID | {"cameras": {"front": focal}}))
    source = open_source(path)
    spec = robot_of(source, IngestConfig(image_size=(16, 30)))
    assert spec.cameras["front"].intrinsics == (30.0, 20.0, 15.0, 8.0)
    assert read_episode(source, 0, spec).images["front"].shape == (T, 3, 16, 30)


def test_a_missing_sentence_is_refused_with_the_flag_that_gives_one(tmp_path: Path) -> None:
    path = recorded(tmp_path / "demos.hdf5", instruction=None)
    with pytest.raises(DataError, match=r'empty in 1 of 3 episodes \(episode 2\).* --instruction "pick up the part"'):
        open_dataset(path, into=tmp_path / "stores")
    store = open_dataset(path, into=tmp_path / "stores", config=IngestConfig(instruction="lift it"))
    assert [record.instruction for record in store.records] == ["pick up the part"] * 2 + ["lift it"]
    assert store.records[2].task == "lift it"


def test_several_episodes_without_an_array_are_named(tmp_path: Path) -> None:
    path = recorded(tmp_path / "demos.hdf5")
    with h5py.File(path, "a") as file:
        del file["episode_0/actions"], file["episode_1/actions"]
    with pytest.raises(DataError, match="episode_0, episode_1 have no actions, other episodes have"):
        Hdf5(path)


BAD = {
    "missing actions": ({"actions": None}, "episode_2 has no actions, other episodes have"),
    "missing success": ({"success": None}, "episode_2 has no success, other episodes have"),
    "float images": ({"images": np.zeros((T, 8, 10, 3))}, "episode_2: images is float64 of shape"),
    "channels first": ({"images": np.zeros((T, 3, 8, 10), np.uint8)}, "frames, height, width, 3"),
    "integer actions": ({"actions": np.zeros((T, 2), int)}, "episode_2: actions is int64, floating point"),
    "text as state": ({"robot_state": np.array([b"a"] * T)}, "episode_2: robot_state is"),
    "empty": ({"actions": np.zeros((0, 2))}, "episode_2: has no frames"),
    "lengths": ({"actions": np.zeros((T - 1, 2))}, "episode_2: columns differ in length (actions 3, robot_state 4"),
    "size": ({"actions": np.zeros((T, 3))}, "episode_2: actions has 3 values a frame, 2 are said"),
    "not a number": ({"actions": np.array([[0.0, 0.0]] * 3 + [[0.0, np.nan]])}, "episode_2, frame 3: action.b is nan"),
    "image size": ({"images": np.zeros((T, 8, 12, 3), np.uint8)}, "episode_2: images are 8 x 12"),
    "two sentences": ({"instruction": [b"a", b"b"]}, "episode_2: instruction is"),
    "success by frame": ({"success": [True] * T}, "episode_2: success is bool of shape (4,)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_named_by_file_and_episode(name: str, tmp_path: Path) -> None:
    changes, words = BAD[name]
    path = recorded(tmp_path / "demos.hdf5", **changes)
    with pytest.raises(DataError) as caught:
        read_last(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_another_hdf5_layout_is_refused_with_what_is_in_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file.create_group("runs/0")
    with pytest.raises(DataError, match=r"no groups episode_0.* but runs"):
        open_source(tmp_path / "other.hdf5")

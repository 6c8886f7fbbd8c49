"""The layout is from the authors' conversion scripts: their files are not at hand."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data.formats.samples import smooth, vd4rl
from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.vd4rl import VD4rl


@pytest.mark.parametrize("shards", [False, True])
def test_an_image_goes_with_the_action_of_the_next_row(shards: bool, tmp_path: Path) -> None:
    path = vd4rl(tmp_path, shards=shards)
    source = open_source(path)
    assert isinstance(source, VD4rl)
    assert source.lengths == ((3, 3, 4, 4) if shards else (3, 4))
    assert set(source.tasks) == {"walker_walk/random"}
    spec = robot_of(source)
    assert spec.state == ()
    assert max(spec.high) < 1  # what stands in first rows led to nothing and counts for nothing
    for number, length in enumerate(source.lengths):
        episode, seed = read_episode(source, number, spec), length - 3
        action = np.random.default_rng(seed).uniform(-1, 1, (length + 1, 2)).astype(np.float32)
        np.testing.assert_array_equal(episode.action, action[1:])
        np.testing.assert_array_equal(episode.reward, np.arange(1, length + 1))
        np.testing.assert_array_equal(
            episode.images["camera"].transpose(0, 2, 3, 1), smooth(length + 1, seed=seed)[:-1]
        )
        assert episode.terminated == (seed == 1)
        assert episode.final_state is None


def test_it_becomes_a_store_with_a_sentence_and_images_of_another_size(tmp_path: Path) -> None:
    config = IngestConfig(instruction="walk", image_size=(8, 8))
    store = open_dataset(vd4rl(tmp_path), into=tmp_path / "stores", config=config)
    assert store.column("images.camera").shape == (7, 3, 8, 8)
    assert store.column("reward").tolist() == [1, 2, 3, 1, 2, 3, 4]


def test_a_shard_that_begins_or_ends_within_an_episode_is_refused(tmp_path: Path) -> None:
    path = vd4rl(tmp_path, shards=True)
    with h5py.File(path / "shard_1.hdf5", "a") as file:
        file["step_type"][0] = 1
    with pytest.raises(DataError, match=r"shard_1\.hdf5: row 0: step_type is 1"):
        open_source(path)
    with h5py.File(path / "shard_1.hdf5", "a") as file:
        file["step_type"][0], file["step_type"][-1] = 0, 1
    with pytest.raises(DataError, match=r"shard_1\.hdf5: row 9: step_type is 1, 2 is needed"):
        open_source(path)


def test_rows_must_agree_and_images_be_of_one_size(tmp_path: Path) -> None:
    path = vd4rl(tmp_path)
    file = sorted(path.glob("*.npz"))[1]
    content = dict(np.load(file))
    np.savez_compressed(file, **content | {"reward": content["reward"][1:]})
    with pytest.raises(DataError, match=r"npz: image 5, action 5, reward 4, discount 5 rows"):
        open_source(path)
    np.savez_compressed(file, **content | {"image": content["image"][:, :6]})
    source = open_source(path)
    with pytest.raises(DataError, match=r"episode 1: image is \(6, "):
        read_episode(source, 1, robot_of(source))


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = vd4rl(tmp_path)
    file = sorted(path.glob("*.npz"))[0]
    content = dict(np.load(file))
    np.savez_compressed(file, **content | {"action": np.array([print, 1, 2, 3], object)})
    with pytest.raises(DataError, match="action holds Python objects, which are never unpickled"):
        open_source(path)

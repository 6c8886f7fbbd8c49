from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import ConfigError, DataError
from sinew.data.config import IngestConfig
from sinew.data.formats.export import convert
from sinew.data.formats.ingest import open_dataset
from sinew.data.store import Store

EPISODES = [
    smooth_episode(number, targets={"goal": np.ones((5 + number, 3), np.float32)}, held_out=number == 1)
    for number in range(3)
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "store", SPEC, ["goal"])
    made.append(EPISODES)
    made.unlock()
    return made


def test_a_store_goes_out_and_comes_back_without_labels(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert(store.path, tmp_path / "lerobot", to="lerobot", storage="image", on_progress=lambda *n: seen.append(n))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    convert(tmp_path / "lerobot", tmp_path / "demos.hdf5", to="hdf5")
    back = open_dataset(tmp_path / "demos.hdf5", into=tmp_path / "stores")
    assert back.spec == SPEC
    assert back.target_sizes == {}
    for number, episode in enumerate(EPISODES):
        np.testing.assert_array_equal(back.episode(number).images["wrist"], episode.images["wrist"])
        np.testing.assert_array_equal(back.episode(number).action, episode.action)
        assert back.episode(number).success == episode.success


def test_unknown_formats_and_storages_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such format to write\. There are: d4rl, hdf5, lerobot"):
        convert(store.path, tmp_path / "out", to="csv")
    with pytest.raises(ConfigError, match="hdf5 stores images as image; video was asked for"):
        convert(store.path, tmp_path / "out", to="hdf5", storage="video")


def test_a_store_takes_no_settings(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a store, which says all of its robot"):
        convert(store.path, tmp_path / "out", to="hdf5", config=IngestConfig(instruction="go"))

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from data.formats.samples import replay_zarr, robot, smooth
from sinew.core.errors import DataError
from sinew.data.episode import Episode
from sinew.data.formats.ingest import open_source, read_episode, robot_of
from sinew.data.formats.replay_zarr import ReplayZarr


def read_all(path: Path) -> list[Episode]:
    source = open_source(path)
    spec = robot_of(source)
    return [read_episode(source, number, spec) for number in range(len(source.lengths))]


def column(path: Path, name: str) -> Any:  # noqa: ANN401
    root: Any = zarr.open_group(str(path), mode="r+")
    return root[name]


def test_what_the_layout_says_is_read(tmp_path: Path) -> None:
    path = replay_zarr(tmp_path)
    source = open_source(path)
    assert isinstance(source, ReplayZarr)
    assert source.lengths == (3, 2, 4)
    assert source.unread == ("keypoint",)
    state, action = column(path, "data/state")[:], column(path, "data/action")[:]
    for episode, rows in zip(read_all(path), (slice(0, 3), slice(3, 5), slice(5, 9)), strict=True):
        np.testing.assert_array_equal(episode.state, state[rows, :2])
        np.testing.assert_array_equal(episode.action, action[rows])
        np.testing.assert_array_equal(episode.images["img"].transpose(0, 2, 3, 1), smooth(9)[rows])


def test_a_zip_is_read_where_it_lies(tmp_path: Path) -> None:
    path = replay_zarr(tmp_path)
    forward = read_all(path)
    packed = Path(shutil.make_archive(str(path), "zip", path))
    for name in ("spec", "columns"):
        shutil.copy(path / f"{name}.json", packed.with_suffix(f".{name}.json"))
    shutil.rmtree(path)
    for one, two in zip(forward, read_all(packed), strict=True):
        np.testing.assert_array_equal(one.images["img"], two.images["img"])
        np.testing.assert_array_equal(one.state, two.state)
    assert list(tmp_path.rglob("*.zarray")) == []


def test_other_columns_are_sensors_where_the_spec_names_them(tmp_path: Path) -> None:
    path = replay_zarr(tmp_path)
    np.testing.assert_array_equal(read_all(path)[1].sensors["keypoint"], column(path, "data/keypoint")[3:5])
    (path / "spec.json").write_text(robot("ab", "xy", sensors={"lidar": {"shape": [9], "unit": "m", "hz": 10}}))
    with pytest.raises(DataError, match="sensor lidar is no column"):
        read_all(path)


def set_ends(path: Path, *ends: int) -> None:
    column(path, "meta/episode_ends")[:] = ends


def scale_images(path: Path) -> None:
    array = column(path, "data/img")
    array[:] = array[:] / 255


def change_meta(path: Path, **changes: Any) -> None:  # noqa: ANN401
    file = path / "data" / "action" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def halve_chunk(path: Path) -> None:
    """Blosc itself would return what lies behind the buffer in memory."""
    file = path / "data/action/0.0"
    file.write_bytes(file.read_bytes()[:24])


def damage_chunk(path: Path) -> None:
    (path / "data/img/0.0.0.0").write_bytes(bytes(30))


BAD = {
    "a chunk less": (lambda path: (path / "data/img/1.0.0.0").unlink(), "data/img has 2 of 3 chunks"),
    "half a chunk": (halve_chunk, "data/action, chunk 0.0: 24 bytes that say of themselves 48"),
    "damaged chunk": (damage_chunk, "img, chunk 0.0.0.0: 30 bytes that say of themselves 0"),
    "more frames": (lambda path: set_ends(path, 3, 5, 10), "data/action has 9 frames, meta/episode_ends says 10"),
    "an empty episode": (lambda path: set_ends(path, 3, 3, 9), "episode_1 has no frames"),
    "0 to 1": (scale_images, "episode_0: img, frame 0: holds other values than whole numbers of 0 .. 255"),
    "no action": (lambda path: shutil.rmtree(path / "data/action"), "no column action; there are state"),
    "huge": (lambda path: change_meta(path, chunks=[10**9, 2]), "chunks of (1000000000, 2), more than 2 GiB"),
    "endless": (lambda path: change_meta(path, shape=[10**12, 2]), "data/action has 1000000000000 frames"),
    "unknown codec": (lambda path: change_meta(path, compressor={"id": "none_such"}), "cannot be read as Zarr"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_stores_are_named(name: str, tmp_path: Path) -> None:
    change, words = BAD[name]
    path = replay_zarr(tmp_path)
    change(path)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)

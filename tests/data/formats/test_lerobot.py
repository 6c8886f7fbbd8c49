from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.formats.recordings import COMPLETE, GOLDEN, SPEC, change_json, change_table, smooth_episode
from sinew.core.errors import DataError, SpecError
from sinew.core.types import CameraSpec, SensorSpec
from sinew.data.formats import lerobot_write
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.lerobot import LeRobot
from sinew.data.formats.video import Film

ROWS = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FILM = "videos/observation.images.front/chunk-000/file-000.mp4"
LENGTHS = (4, 5, 6)


def golden(name: str, tmp_path: Path) -> Path:
    """Return a copy of a dataset that lerobot 0.4.4 wrote, completed by what it does not say."""
    path = shutil.copytree(GOLDEN / name, tmp_path / name)
    (path / "spec.json").write_text(json.dumps(COMPLETE))
    return path


def read_all(path: Path) -> None:
    source = open_source(path)
    spec = robot_of(source)
    for number in range(len(source.lengths)):
        read_episode(source, number, spec)


def test_episodes_of_another_split_than_train_are_held_out(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    assert open_dataset(path, into=tmp_path / "plain").records[1].held_out is False
    change_json(path / "meta" / "info.json", splits={"train": "0:1", "val": "1:2", "test": "2:99"})
    store = open_dataset(path, into=tmp_path / "divided")
    assert [record.held_out for record in store.records] == [False, True, True]
    assert [LeRobot(path).episode(number, store.spec).held_out for number in range(3)] == [False, True, True]
    change_json(path / "meta" / "info.json", splits={"val": "last"})
    with pytest.raises(DataError, match=r"info\.json: split val is 'last', first:end was wanted"):
        open_source(path)


@pytest.mark.parametrize("name", ["image", "h264", "av1"])
def test_what_lerobot_wrote_is_read_as_lerobot_reads_it(name: str, tmp_path: Path) -> None:
    path = golden(name, tmp_path)
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert isinstance(source, LeRobot)
    assert source.lengths == LENGTHS
    assert source.unread == ()
    spec = robot_of(source)
    assert spec.sensors == {"environment_state": SensorSpec((2,), unit="raw", hz=10.0)}
    assert (spec.embodiment, spec.hz, spec.action, spec.state) == ("so100", 10.0, ("dx", "dy"), ("x", "y", "grip"))
    assert (spec.cameras["front"].height, spec.cameras["front"].width) == (64, 80)
    for number in range(3):
        episode, rows = read_episode(source, number, spec), expected["episode"] == number
        np.testing.assert_array_equal(episode.state, expected["state"][rows])
        np.testing.assert_array_equal(episode.action, expected["action"][rows])
        np.testing.assert_array_equal(episode.images["front"], expected["images"][rows])
        assert [episode.instruction] * LENGTHS[number] == expected["task"][rows].tolist()
        assert episode.success == (number != 1)


def test_episodes_over_several_files_and_films_keep_their_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot_write, "DATA_MB", 1e-5)
    monkeypatch.setattr(lerobot_write, "VIDEO_MB", 1e-5)
    monkeypatch.setattr(lerobot_write, "PER_CHUNK", 2)
    episodes = [smooth_episode(number) for number in range(5)]
    LeRobot.write(tmp_path / "out", episodes, storage="video")
    assert (tmp_path / "out" / "data/chunk-002/file-000.parquet").exists()
    assert len(list((tmp_path / "out").rglob("*front/*/*.mp4"))) > 2  # the encoder says late how much it has written
    source = open_source(tmp_path / "out")
    for number, episode in enumerate(episodes):
        back = read_episode(source, number, episode.spec)
        np.testing.assert_array_equal(back.action, episode.action)
        assert np.abs(back.images["front"].astype(int) - episode.images["front"]).mean() < 6


def test_the_five_hundredth_episode_of_a_film_begins_at_its_own_frame(tmp_path: Path) -> None:
    """Frames are found by whole numbers; at 29.97 Hz summed seconds would drift."""
    spec = dataclasses.replace(SPEC, hz=29.97, cameras={"wrist": CameraSpec(12, 12)})
    episodes = [smooth_episode(0, frames=2, spec=spec) for _ in range(500)]
    for number, episode in enumerate(episodes):
        for images in episode.images.values():
            images[:] = number % 2 * 255
    LeRobot.write(tmp_path / "out", episodes)
    source = open_source(tmp_path / "out")
    for number in (499, 498, 250, 251):
        images = read_episode(source, number, spec).images["wrist"]
        assert abs(int(images.mean()) - number % 2 * 255) < 3


def test_images_in_one_row_group_are_read_for_every_episode(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    change_table(path / ROWS, lambda table: table.combine_chunks())
    assert pq.ParquetFile(path / ROWS).num_row_groups == 1
    source = open_source(path)
    expected = np.load(path / "expected.npz")
    for number in (1, 0, 2):
        images = read_episode(source, number, robot_of(source)).images["front"]
        np.testing.assert_array_equal(images, expected["images"][expected["episode"] == number])


def test_a_rate_that_contradicts_the_data_is_refused(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    change_json(path / "spec.json", hz=20)
    with pytest.raises(SpecError, match=r"the data say 10 Hz, .*spec\.json says 20"):
        read_all(path)


def test_a_version_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    change_json(path / "meta/info.json", codebase_version="v1.6")
    with pytest.raises(DataError, match=r"codebase_version is v1\.6, read are v3\.0, v2\.1"):
        open_source(path)


def set_value(name: str, row: int, value: object) -> Any:  # noqa: ANN401
    """Return a change of a table that sets one value."""

    def change(table: Any) -> Any:  # noqa: ANN401
        values = table[name].to_pylist()
        values[row] = value
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def without(name: str) -> Any:  # noqa: ANN401
    """Return a change of a table that drops a column."""
    return lambda table: table.drop_columns([name])


def cast(name: str, kind: pa.DataType) -> Any:  # noqa: ANN401
    """Return a change of a table that gives a column another type."""
    return lambda table: table.set_column(
        table.schema.get_field_index(name), name, pa.array(table[name].to_pylist()).cast(kind, safe=False)
    )


BAD_ROWS = {
    "no action": (without("action"), "file-000.parquet: has no column action"),
    "no image": (without("observation.images.front"), "observation.images.front"),
    "integers": (cast("action", pa.list_(pa.int64())), "episode 0: action is int64, floating point"),
    "text": (cast("timestamp", pa.string()), "file-000.parquet: timestamp is object, numbers are needed"),
    "empty action": (set_value("action", 5, None), "episode 1, frame 1: action has no value"),
    "lost frame": (lambda table: table.slice(0, 5).combine_chunks(), "episode 1: has 1 frames here, the table"),
    "out of order": (set_value("frame_index", 5, 3), "episode 1, frame 1: the row there is frame 3"),
    "late": (set_value("timestamp", 5, 0.9), "episode 1, frame 1: is at 0.9 s; at 10 Hz it belongs at 0.1 s"),
    "other sentence": (set_value("task_index", 5, 0), "episode 1, frame 1: the instruction changes from 'go right'"),
    "no bytes": (set_value("observation.images.front", 5, {"bytes": None, "path": "x.png"}), "episode 1, frame 1"),
    "bad bytes": (
        set_value("observation.images.front", 5, {"bytes": b"\x89PNG", "path": None}),
        "episode 1: observation.images.front, frame 1: not a readable image",
    ),
    "not a number": (set_value("action", 5, [0.0, float("nan")]), "episode_1, frame 1: action.dy is nan"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_named_by_file_episode_and_frame(name: str, tmp_path: Path) -> None:
    change, words = BAD_ROWS[name]
    path = golden("image", tmp_path)
    change_json(path / "spec.json", low=[-1, -1], high=[1, 1])
    change_table(path / ROWS, change)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


BAD_EPISODES = {
    "empty": (set_value("length", 1, 0), "episode 1: has 0 frames. Leave empty episodes out"),
    "two sentences": (set_value("tasks", 1, ["a", "b"]), "episode 1: has 2 instructions"),
    "longer than its film": (
        set_value("videos/observation.images.front/to_timestamp", 2, 1.7),
        "episode 2: its film observation.images.front runs from 0.9 s to 1.7 s, 8 frames",
    ),
    "no film": (
        without("videos/observation.images.front/from_timestamp"),
        "episode 0: does not say where the film of observation.images.front is",
    ),
    "no length": (without("length"), "has no column length"),
    "one less": (lambda table: table.slice(0, 2), "counts 3 episodes, meta/episodes lists 2"),
}


@pytest.mark.parametrize("name", BAD_EPISODES)
def test_a_bad_table_of_episodes_is_refused(name: str, tmp_path: Path) -> None:
    change, words = BAD_EPISODES[name]
    path = golden("h264", tmp_path)
    change_table(path / EPISODES, change)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)


def test_a_recording_that_was_never_finished_is_refused(tmp_path: Path) -> None:
    path = golden("h264", tmp_path)
    (path / EPISODES).unlink()
    with pytest.raises(DataError, match=r"meta/episodes holds no table.*finalize"):
        open_source(path)


def test_a_film_shorter_than_its_table_is_refused_at_the_first_missing_frame(tmp_path: Path) -> None:
    path = golden("h264", tmp_path)
    short = tmp_path / "short.mp4"
    with Film(short, (64, 80), 10.0) as film:
        for _ in range(12):
            film.add(np.zeros((64, 80, 3), np.uint8))
    shutil.copy(short, path / FILM)
    with pytest.raises(DataError, match=r"episode 2: observation.images.front, frame 3: .* shows no frame at 1.2 s"):
        read_all(path)
    (path / FILM).unlink()
    with pytest.raises(DataError, match=r"episode 0: observation.images.front: .* is missing"):
        read_all(path)


def test_shapes_in_the_table_of_contents_must_be_those_of_the_images(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["shape"] = [3, 60, 80]
    (path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"frame 0: is 64 x 80 px, meta/info.json says 60 x 80"):
        read_all(path)


def test_sides_that_h264_cannot_have_are_refused(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, cameras={"front": CameraSpec(15, 20)})
    with pytest.raises(DataError, match=r"15 x 20 px cannot become H\.264"):
        LeRobot.write(tmp_path / "out", [smooth_episode(0, spec=spec)], storage="video")


def test_sensors_rewards_and_endings_round_trip(tmp_path: Path) -> None:
    sensors = {
        "depth": SensorSpec((4, 5), "mm", 12.5, dtype="uint16"),
        "points": SensorSpec((3, 2, 3), "m", 10.0),
        "force": SensorSpec((6,), "N", 100.0),
        "range": SensorSpec((), "m", 10.0),
    }
    spec = dataclasses.replace(SPEC, sensors=sensors)
    rng = np.random.default_rng(0)
    episodes = [
        smooth_episode(
            number,
            spec=spec,
            sensors={
                name: rng.integers(0, 60000, (5 + number, *sensor.shape)).astype(sensor.dtype)
                for name, sensor in sensors.items()
            },
            reward=rng.normal(size=5 + number).astype(np.float32),
            terminated=number == 1,
            final_state=rng.normal(size=2).astype(np.float32) if number else None,
        )
        for number in range(3)
    ]
    LeRobot.write(tmp_path / "out", episodes, storage="image")
    source = open_source(tmp_path / "out")
    assert robot_of(source) == spec
    for number, episode in enumerate(episodes):
        back = read_episode(source, number, spec)
        for name in sensors:
            np.testing.assert_array_equal(back.sensors[name], episode.sensors[name])
            assert back.sensors[name].dtype == episode.sensors[name].dtype
        np.testing.assert_array_equal(back.reward, episode.reward)
        assert back.terminated == episode.terminated
        np.testing.assert_array_equal(back.final_state, episode.final_state)


def test_depth_is_read_from_pictures_of_one_channel_and_from_films_that_show_it(tmp_path: Path) -> None:
    path = golden("h264", tmp_path)
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["info"]["video.is_depth_map"] = True
    info["features"]["observation.images.depth"] = {"dtype": "image", "shape": [4, 5, 1]}
    (path / "meta/info.json").write_text(json.dumps(info))
    depth = np.arange(15 * 20, dtype=np.uint16).reshape(15, 4, 5) * 100
    files = [io.BytesIO() for _ in depth]
    for file, picture in zip(files, depth, strict=True):
        Image.fromarray(picture).save(file, "PNG")
    column = pa.array([{"bytes": file.getvalue(), "path": None} for file in files])
    change_table(path / ROWS, lambda table: table.append_column("observation.images.depth", column))
    source = open_source(path)
    spec = robot_of(source)
    assert spec.cameras == {}
    episode = read_episode(source, 1, spec)
    np.testing.assert_array_equal(episode.sensors["depth"], depth[4:9, ..., None])
    expected = np.load(path / "expected.npz")
    shown = expected["images"][expected["episode"] == 1].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(episode.sensors["front"], shown)


def test_a_sensor_that_the_data_do_not_have_and_one_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = golden("image", tmp_path)
    for shape, name, words in (
        ((3,), "environment_state", r"has shape \(2,\), the spec says \(3,\)"),
        ((2,), "lidar", "no sensor lidar"),
    ):
        change_json(path / "spec.json", sensors={name: {"shape": shape, "unit": "m", "hz": 10}})
        with pytest.raises(DataError, match=words):
            read_all(path)
    change_json(path / "spec.json", sensors={})
    assert robot_of(open_source(path)).sensors == {}
    read_all(path)

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats.recordings import change_json
from data.formats.samples import rlds, robot
from sinew.core.crc32c import masked
from sinew.core.errors import DataError
from sinew.data.episode import Episode
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.rlds import Rlds

SENSORS = {
    "depth": {"shape": [16, 20], "unit": "mm", "hz": 10, "dtype": "uint16"},
    "range": {"shape": [5], "unit": "m", "hz": 10},
    "observation/metres": {"shape": [6, 8, 1], "unit": "m", "hz": 10},
}


def read_all(path: Path) -> list[Episode]:
    source = open_source(path)
    spec = robot_of(source)
    return [read_episode(source, number, spec) for number in range(len(source.lengths))]


def joined(episodes: list[Episode], column: Any) -> Any:  # noqa: ANN401
    return np.concatenate([column(episode) for episode in episodes])


def choose(path: Path, **columns: Any) -> Path:  # noqa: ANN401
    (path / "columns.json").write_text(json.dumps(columns))
    return path


def test_what_tensorflow_datasets_wrote_is_read_as_it_reads_it(tmp_path: Path) -> None:
    path = rlds(tmp_path)
    (path / "spec.json").write_text(robot("ab", "xyz", sensors=SENSORS))
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert isinstance(source, Rlds)
    assert source.lengths == tuple(expected["lengths"].tolist())
    assert source.judged
    episodes = read_all(path)
    np.testing.assert_array_equal(joined(episodes, lambda one: one.action), expected["action"])
    np.testing.assert_array_equal(joined(episodes, lambda one: one.state), expected["observation.state"])
    np.testing.assert_array_equal(joined(episodes, lambda one: one.reward), expected["reward"])
    wrist = joined(episodes, lambda one: one.images["wrist_image"]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(wrist, expected["observation.wrist_image"])
    for name in ("depth", "range"):
        readings = joined(episodes, lambda one, name=name: one.sensors[name])
        np.testing.assert_array_equal(readings, expected[f"observation.{name}"].squeeze())
    metres = joined(episodes, lambda one: one.sensors["observation/metres"])
    np.testing.assert_array_equal(metres, expected["observation.metres"])
    assert [one.success for one in episodes] == expected["metadata.success"].tolist()
    ends = np.cumsum(expected["lengths"]) - 1
    assert [one.terminated for one in episodes] == expected["is_terminal"][ends].tolist()
    assert [one.instruction for one in episodes] == expected["language_instruction"][ends].tolist()


def test_jpeg_differs_by_no_more_than_decoders_do(tmp_path: Path) -> None:
    path = rlds(tmp_path)
    wanted = np.load(path / "expected.npz")["observation.image"]
    images = joined(read_all(path), lambda one: one.images["image"]).transpose(0, 2, 3, 1)
    assert np.abs(images.astype(int) - wanted).mean() < 1


def test_splits_other_than_train_are_held_out(tmp_path: Path) -> None:
    episodes = read_all(rlds(tmp_path))
    assert {one.id: one.held_out for one in episodes} == {
        "train/00000/0": False,
        "train/00000/1": False,
        "train/00001/0": False,
        "val/00000/0": True,
        "val/00001/0": True,
    }


def test_the_splits_of_the_data_set_are_those_of_its_store(tmp_path: Path) -> None:
    path = rlds(tmp_path)
    store = open_dataset(path, into=tmp_path / "stores")
    assert [record.held_out for record in store.records] == [False, False, False, True, True]
    info = json.loads((path / "dataset_info.json").read_text())
    (path / "dataset_info.json").write_text(json.dumps(info | {"splits": info["splits"][1:]}))
    store = open_dataset(path, into=tmp_path / "stores")
    assert [record.held_out for record in store.records].count(True) == 1  # of val alone a share is drawn


@pytest.mark.parametrize("name", ["parts", "array"])
def test_an_action_in_parts_is_put_together_in_both_kinds_of_files(name: str, tmp_path: Path) -> None:
    expected = np.load(rlds(tmp_path / "other", "parts") / "expected.npz")
    path = rlds(tmp_path, name)
    source = open_source(path)
    assert source.facts.said.action == ("gripper_closedness_action", *(f"world_vector.{value}" for value in range(3)))
    assert source.unread == ("action/terminate_episode", "observation/base_pose", "observation/gripper_closed")
    parts = [expected[f"action.{part}"] for part in ("gripper_closedness_action", "world_vector")]
    episodes = read_all(path)
    np.testing.assert_array_equal(joined(episodes, lambda one: one.action), np.concatenate(parts, axis=1))
    assert [one.instruction for one in episodes] == expected["observation.natural_language_instruction"][::3].tolist()


def test_the_owner_chooses_columns(tmp_path: Path) -> None:
    path = choose(
        rlds(tmp_path, "parts"),
        state=["observation/base_pose[0:3]", "observation/gripper_closed"],
        action=["action/world_vector"],
        upside_down=["image"],
        bgr=["image"],
    )
    (path / "spec.json").write_text(robot("abc", "xyzg"))
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert source.facts.said.state == ("base_pose.0", "base_pose.1", "base_pose.2", "gripper_closed")
    assert path / "columns.json" in source.files
    episodes = read_all(path)
    state = joined(episodes, lambda one: one.state)
    np.testing.assert_array_equal(state[:, :3], expected["observation.base_pose"][:, :3])
    np.testing.assert_array_equal(state[:, 3:], expected["observation.gripper_closed"])
    image = episodes[0].images["image"][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(image, expected["observation.image"][0][::-1, :, ::-1])


def test_a_last_step_without_action_gives_the_final_state(tmp_path: Path) -> None:
    path = choose(rlds(tmp_path), drop_last=True)
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert source.lengths == (3, 4, 5, 2, 1)
    first = read_all(path)[0]
    assert first.final_state is not None
    np.testing.assert_array_equal(first.final_state, expected["observation.state"][3])
    np.testing.assert_array_equal(first.action, expected["action"][:3])


def test_a_directory_of_one_version_is_enough_and_of_two_is_not(tmp_path: Path) -> None:
    path = rlds(tmp_path / "bridge", "parts")
    (path / "spec.json").rename(tmp_path / "bridge" / "spec.json")
    assert read_all(tmp_path / "bridge")[0].source == "bridge"
    rlds(tmp_path / "bridge", "arm")
    with pytest.raises(DataError, match="several versions: arm, parts"):
        open_source(tmp_path / "bridge")


def shard(path: Path) -> Path:
    return next(path.glob("*-train.tfrecord-00000-of-*"))


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    """Change a record and give it the CRC that fits."""
    content = bytearray(shard(path).read_bytes())
    length = struct.unpack_from("<Q", content)[0]
    place = bytes(content[: 12 + length]).index(old)
    content[place : place + len(new)] = new
    struct.pack_into("<I", content, 12 + length, masked(bytes(content[12 : 12 + length])))
    shard(path).write_bytes(content)


def flip(path: Path) -> None:
    content = bytearray(shard(path).read_bytes())
    content[200] ^= 1
    shard(path).write_bytes(content)


def drop_record(path: Path) -> None:
    content = shard(path).read_bytes()
    shard(path).write_bytes(content[: 16 + struct.unpack_from("<Q", content)[0]])


def change_features(path: Path, old: str, new: str) -> None:
    file = path / "features.json"
    text = json.dumps(json.loads(file.read_text()))
    assert old in text
    file.write_text(text.replace(old, new))


def halve_state(path: Path) -> None:
    change_features(path, '["3"]', '["2"]')
    (path / "spec.json").write_text(robot("ab", "xy"))


BAD = {
    "a bit flipped": (flip, "record 0: its content does not fit its CRC"),
    "a record less": (drop_record, "holds 1 records, dataset_info.json says 2"),
    "no shard": (lambda path: shard(path).unlink(), "no such file. Restore it"),
    "compressed": (lambda path: shard(path).write_bytes(b"\x1f\x8b" * 20), "no TFRecord, a compressed one"),
    "no splits": (lambda path: change_json(path / "dataset_info.json", splits=None), "KeyError('splits')"),
    "no steps": (lambda path: change_features(path, '"steps"', '"stages"'), "has no feature steps, but"),
    "other size": (halve_state, "12 values for 4 steps of 2"),
    "wrong size": (lambda path: change_features(path, '"24"', '"25"'), "shape (24, 32, 3), features.json says (25,"),
    "huge": (lambda path: change_features(path, '"24"', '"240000"'), "cannot lie in a record of"),
    "sentence changes": (lambda path: overwrite(path, b"go left\n", b"go near\n"), "frame 1: the instruction changes"),
    "bad picture": (lambda path: overwrite(path, b"\xff\xd8\xff", b"XXX"), "image, frame 0: not a readable image"),
    "column gone": (lambda path: overwrite(path, b"steps/action", b"steps/axtion"), "has no steps/action"),
    "other columns": (lambda path: choose(path, state=["observation/nothing"]), "no column observation/nothing"),
    "range": (lambda path: choose(path, state=["observation/state[1:9]"]), "takes values 1 to 9 of 3"),
    "unknown word": (lambda path: choose(path, stat=["x"]), "stat"),
    "no such text": (lambda path: choose(path, instruction="action"), "no column action that could be it"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str, tmp_path: Path) -> None:
    change, words = BAD[name]
    path = rlds(tmp_path)
    change(path)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_sensor_that_is_no_column_is_refused(tmp_path: Path) -> None:
    path = rlds(tmp_path)
    for sensor, words in (
        ({"lidar": SENSORS["range"]}, "sensor lidar is no column"),
        ({"range": SENSORS["depth"]}, r"a reading has shape \(5,\), the spec says \(16, 20\)"),
        ({"depth": {**SENSORS["depth"], "dtype": "uint8"}}, "is uint16, the spec says uint8"),
    ):
        (path / "spec.json").write_text(robot("ab", "xyz", sensors=sensor))
        with pytest.raises(DataError, match=words):
            read_all(path)

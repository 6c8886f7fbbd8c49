from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sinew.core.errors import DataError, SinewError
from sinew.core.types import CameraSpec
from sinew.data.labels import Label, append, denied, episode_names, image_targets, labels_path, load, read
from sinew.data.store import Store
from toy_data import SPEC, random_episode

TWO_EYES = dataclasses.replace(SPEC, cameras={"front": CameraSpec(4, 4), "wrist": CameraSpec(4, 4)})


def seen(place: tuple[float, float], **changes: object) -> Label:
    """Return a label of the target on the first frame of the first episode."""
    return dataclasses.replace(Label("train/0", 0, "target", "front", "seen", place), **changes)


def still_store(path: Path, frames: int = 6) -> Store:
    """Return a store of two episodes in which nothing moves."""
    store = Store.create(path, SPEC, ["goal"])
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 4), dtype=np.uint8)
    images = {"front": np.repeat(image, frames, axis=0)}
    store.append([random_episode(number, frames, images=images) for number in range(2)])
    return store


APPEND_FOR_EVER = """
import itertools, sys
from pathlib import Path
from sinew.data.labels import Label, append
for frame in itertools.count():
    append(Path(sys.argv[1]), [Label("train/0", frame, sys.argv[2], "front", "seen", (0.5, 0.5))])
    print(frame + 1, flush=True)
"""


def test_labels_come_back_as_places_by_episode_and_frame(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [seen((0.25, 0.5)), seen((0.75, 1.0), point="goal")])
    append(path, [seen((0.0, 0.125), episode="train/1", frame=2)])
    assert load(path) == {
        ("train/0", 0): {"target": (0.25, 0.5), "goal": (0.75, 1.0)},
        ("train/1", 2): {"target": (0.0, 0.125)},
    }


def test_last_label_of_a_point_counts(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [seen((0.1, 0.1)), seen((0.2, 0.2), point="goal"), seen((0.3, 0.3), point="tool")])
    append(path, [seen((0.9, 0.9))])
    append(path, [Label("train/0", 0, "goal", "front", "hidden"), Label("train/0", 0, "tool", "front", "withdrawn")])
    assert load(path) == {("train/0", 0): {"target": (0.9, 0.9)}}
    assert {key[2]: label.state for key, label in read(path).items()} == {"target": "seen", "goal": "hidden"}


def test_a_missing_log_holds_no_labels(tmp_path: Path) -> None:
    assert load(tmp_path / "labels.jsonl") == {}


def test_several_cameras_must_be_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [seen((0.1, 0.1)), seen((0.2, 0.2), camera="wrist")])
    assert load(path, "wrist") == {("train/0", 0): {"target": (0.2, 0.2)}}
    with pytest.raises(DataError, match="front, wrist"):
        load(path)


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_that_a_killed_writer_left_is_ignored_and_then_replaced(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [seen((0.1, 0.1))])
    whole = path.read_bytes()
    append(path, [seen((0.2, 0.2), point="goal")])
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:cut])
    assert load(path) == {("train/0", 0): {"target": (0.1, 0.1)}}
    append(path, [seen((0.3, 0.3), point="tool")])
    assert load(path) == {("train/0", 0): {"target": (0.1, 0.1), "tool": (0.3, 0.3)}}


def test_a_log_torn_within_its_first_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"schema_ver')
    append(path, [seen((0.5, 0.5))])
    assert len(load(path)) == 1


def test_what_two_killed_processes_committed_is_all_there(tmp_path: Path) -> None:
    path, points = tmp_path / "labels.jsonl", ("target", "goal")
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(path)]
    writers = [subprocess.Popen([*command, point], stdout=subprocess.PIPE) for point in points]
    outputs = [writer.stdout for writer in writers if writer.stdout is not None]
    for output in outputs:
        for _ in range(20):
            output.readline()
    for writer in writers:
        writer.kill()
        writer.wait()
    promised = [20 + len(output.read().splitlines()) for output in outputs]
    for output in outputs:
        output.close()
    append(path, [seen((0.5, 0.5), episode="train/1")])
    found = read(path).values()
    for point, count in zip(points, promised, strict=True):
        assert {label.frame for label in found if label.point == point} >= set(range(count))
    assert path.read_bytes().count(b"\n") == 1 + len(found)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (seen((1.5, 0.5)), "0 to 1"),
        (seen((float("nan"), 0.5)), "0 to 1"),
        (seen((0.5, 0.5), episode=""), "names"),
        (seen((0.5, 0.5), frame=-1), "frame"),
        (seen((0.5, 0.5), state="hidden"), "place"),
        (Label("train/0", 0, "target", "front", "seen"), "place"),
    ],
)
def test_a_label_that_says_nothing_is_refused_before_it_is_written(tmp_path: Path, label: Label, message: str) -> None:
    with pytest.raises(DataError, match=message):
        append(tmp_path / "labels.jsonl", [seen((0.5, 0.5)), label])
    assert not (tmp_path / "labels.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2 is not JSON"),
        (b"\xff\xfe", "line 2 is not JSON"),
        (b"[1]", "line 2"),
        (b"{}", "episode: Field required"),
        (json.dumps({**dataclasses.asdict(seen((0.5, 0.5))), "colour": 1}).encode(), "colour: unknown"),
        (json.dumps({**dataclasses.asdict(seen((0.5, 0.5))), "state": "maybe"}).encode(), "state"),
        (json.dumps({**dataclasses.asdict(seen((0.5, 0.5))), "place": [0.5, 7]}).encode(), "line 2.*0 to 1"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"schema_version": 1}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize("first", ['{"schema_version": 2}', "[]", '{"episode": "a"}'])
def test_a_log_of_another_version_is_refused(tmp_path: Path, first: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(first + "\n")
    with pytest.raises(DataError, match="schema version"):
        read(path)


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(SinewError, match="could not be extended"):
        append(tmp_path / "nowhere" / "labels.jsonl", [seen((0.5, 0.5))])


def test_labels_lie_in_a_folder_or_beside_a_file(tmp_path: Path) -> None:
    assert labels_path(tmp_path) == tmp_path / "labels.jsonl"
    assert labels_path(tmp_path / "demos.hdf5") == tmp_path / "demos.hdf5.labels.jsonl"


def test_episode_names_are_unique_and_stay_when_the_store_grows(tmp_path: Path) -> None:
    store = Store.create(tmp_path, SPEC, ["goal"])
    store.append([random_episode(0, id="a"), random_episode(1, id=""), random_episode(2, id="b")])
    before = episode_names(store)
    store.append([random_episode(3, id="a"), random_episode(4, id="")])
    after = episode_names(store)
    assert after[:3] == before == ("a", "#1", "b")
    assert len(set(after)) == 5


def test_targets_are_known_where_a_label_holds_and_nowhere_else(tmp_path: Path) -> None:
    store, path = still_store(tmp_path / "store"), tmp_path / "labels.jsonl"
    append(path, [seen((0.25, 0.75), frame=1), seen((0.5, 0.5), episode="train/1", point="goal")])
    targets = image_targets(store, path)
    assert set(targets) == {"image.target", "image.goal"}
    known = np.isfinite(targets["image.target"]).all(axis=1)
    assert np.flatnonzero(known).tolist() == [1, 2, 3, 4, 5]
    assert np.flatnonzero(np.isfinite(targets["image.goal"]).all(axis=1)).tolist() == [6, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(targets["image.target"][1:6], np.float32([[0.25, 0.75]] * 5))
    assert targets["image.target"].dtype == np.float32


def test_the_next_label_of_the_same_point_takes_over(tmp_path: Path) -> None:
    store, path = still_store(tmp_path / "store"), tmp_path / "labels.jsonl"
    hidden = Label("train/0", 4, "target", "front", "hidden")
    append(path, [hidden, seen((0.75, 0.75), frame=2), seen((0.25, 0.25)), seen((0.5, 0.5), frame=1, point="goal")])
    target = image_targets(store, path)["image.target"][:, 0]
    np.testing.assert_array_equal(target[:6], np.float32([0.25, 0.25, 0.75, 0.75, np.nan, np.nan]))


def test_hidden_holds_until_the_next_label_and_none_for_the_sentence(tmp_path: Path) -> None:
    store, path = still_store(tmp_path / "store"), tmp_path / "labels.jsonl"
    assert not denied(store, path, "target").any()
    append(path, [seen((0.5, 0.5), frame=4), Label("train/0", 2, "target", "front", "hidden")])
    found = denied(store, path, "target")
    assert found.shape == (12, 2)
    assert np.flatnonzero(found.all(axis=1)).tolist() == np.flatnonzero(found.any(axis=1)).tolist() == [2, 3]
    assert not denied(store, path, "goal").any()
    append(path, [Label("train/1", 5, "target", "front", "none")])
    same = [record.instruction == store.records[1].instruction for record in store.records]
    assert denied(store, path, "target").all(axis=1).reshape(2, 6).all(axis=1).tolist() == same


def test_a_label_can_be_kept_to_its_own_frame(tmp_path: Path) -> None:
    store, path = still_store(tmp_path / "store"), tmp_path / "labels.jsonl"
    append(path, [seen((0.25, 0.75))])
    assert np.flatnonzero(np.isfinite(image_targets(store, path, hold=None)["image.target"][:, 0])).tolist() == [0]


def test_each_camera_has_its_own_columns(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", TWO_EYES)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 4), dtype=np.uint8)
    images = dict.fromkeys(TWO_EYES.cameras, np.repeat(image, 2, axis=0))
    store.append([random_episode(0, 2, spec=TWO_EYES, images=images, targets={})])
    append(tmp_path / "labels.jsonl", [seen((0.25, 0.75), camera="wrist")])
    found = image_targets(store, tmp_path / "labels.jsonl")["image.target"]
    np.testing.assert_array_equal(found, np.float32([[np.nan, np.nan, 0.25, 0.75]] * 2))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (seen((0.5, 0.5), episode="train/7"), "episode train/7"),
        (seen((0.5, 0.5), frame=6), "frame 6 of episode train/0, which has 6"),
        (seen((0.5, 0.5), camera="rear"), "camera rear, the robot has front"),
    ],
)
def test_labels_of_another_dataset_are_refused(tmp_path: Path, label: Label, message: str) -> None:
    store, path = still_store(tmp_path / "store"), tmp_path / "labels.jsonl"
    append(path, [label])
    with pytest.raises(DataError, match=message):
        image_targets(store, path)

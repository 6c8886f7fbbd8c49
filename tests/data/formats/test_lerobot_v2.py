from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import COMPLETE, GOLDEN, change_json, cut_in_half
from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.lerobot import LeRobot

LENGTHS = (4, 5, 6)


def golden(name: str, tmp_path: Path) -> Path:
    """Return a copy of a dataset that lerobot 0.3.3 wrote, completed by what it does not say."""
    path = shutil.copytree(GOLDEN / name, tmp_path / name)
    (path / "spec.json").write_text(json.dumps(COMPLETE))
    return path


def read_all(path: Path) -> None:
    source = open_source(path)
    spec = robot_of(source)
    for number in range(len(source.lengths)):
        read_episode(source, number, spec)


@pytest.mark.parametrize("name", ["v21_image", "v21_av1"])
def test_what_lerobot_wrote_is_read_as_lerobot_reads_it(name: str, tmp_path: Path) -> None:
    path = golden(name, tmp_path)
    expected = np.load(path / "expected.npz")
    source = open_source(path)
    assert isinstance(source, LeRobot)
    assert source.lengths == LENGTHS
    assert not source.judged
    assert source.unread == ()
    spec = robot_of(source)
    assert (spec.embodiment, spec.hz, spec.action, spec.state) == ("so100", 10.0, ("dx", "dy"), ("x", "y", "grip"))
    assert spec.sensors == {"depth": SensorSpec((4, 5), unit="raw", hz=10.0, dtype="uint16")}
    for number in range(3):
        episode, rows = read_episode(source, number, spec), expected["episode"] == number
        np.testing.assert_array_equal(episode.state, expected["state"][rows])
        np.testing.assert_array_equal(episode.action, expected["action"][rows])
        np.testing.assert_array_equal(episode.sensors["depth"], expected["depth"][rows])
        np.testing.assert_array_equal(episode.reward, expected["reward"][rows])
        np.testing.assert_array_equal(episode.images["front"], expected["images"][rows])
        assert [episode.instruction] * LENGTHS[number] == expected["task"][rows].tolist()


def test_version_2_0_has_its_statistics_elsewhere_and_is_read_the_same(tmp_path: Path) -> None:
    """Layout from source, not written by the library: no release of it on PyPI writes v2.0."""
    path = golden("v21_image", tmp_path)
    change_json(path / "meta/info.json", codebase_version="v2.0")
    (path / "meta/episodes_stats.jsonl").rename(path / "meta/stats.json")
    store = open_dataset(path, into=tmp_path / "stores")
    assert [record.frames for record in store.records] == list(LENGTHS)
    np.testing.assert_array_equal(store.episode(1).reward, np.arange(5, dtype=np.float32) / 8)


def test_chunks_are_counted_as_the_data_say(tmp_path: Path) -> None:
    path = golden("v21_av1", tmp_path)
    change_json(path / "meta/info.json", chunks_size=2)
    for place in (
        "data/chunk-{}/episode_000002.parquet",
        "videos/chunk-{}/observation.images.front/episode_000002.mp4",
    ):
        (path / place.format("001")).parent.mkdir(parents=True)
        (path / place.format("000")).rename(path / place.format("001"))
    read_all(path)


def test_every_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = golden("v21_av1", tmp_path)
    for file in open_source(path).files:
        if file.name == "episodes_stats.jsonl":  # for other readers
            continue
        whole = file.read_bytes()
        cut_in_half(file)
        with pytest.raises(DataError, match=file.stem):
            read_all(path)
        file.write_bytes(whole)
        file.rename(file.with_suffix(".gone"))
        with pytest.raises(DataError, match=file.name if file.name != "info.json" else "no data set of a format"):
            read_all(path)
        file.with_suffix(".gone").rename(file)
    read_all(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"episode_index": 1, "tasks": ["a", "b"], "length": 5}, "line 2: episode 1: has 2 instructions"),
        ({"episode_index": 1, "tasks": ["go right"], "length": 0}, "line 2: episode 1: has 0 frames"),
        ({"episode_index": 1, "tasks": ["go right"], "length": 4}, "episode 1: has 5 frames here, .* says 4"),
        ({"episode_index": 1, "tasks": ["go left"], "length": 5}, "its rows name task 1"),
        ({"episode_index": 1, "tasks": "go right", "length": 5}, "line 2: tasks is missing or of the wrong kind"),
        (None, "counts 3 episodes, episodes.jsonl lists 2"),
    ],
)
def test_a_bad_list_of_episodes_is_refused(line: dict[str, object] | None, words: str, tmp_path: Path) -> None:
    path = golden("v21_image", tmp_path)
    file = path / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    lines[1:2] = [json.dumps(line)] if line else []
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=words):
        read_all(path)


@pytest.mark.parametrize("pattern", ["../{episode_index}.parquet", "/{episode_index}", "{episode_index.__class__}"])
def test_a_path_that_leads_elsewhere_is_refused(pattern: str, tmp_path: Path) -> None:
    path = golden("v21_image", tmp_path)
    change_json(path / "meta/info.json", data_path=pattern)
    with pytest.raises(DataError, match="none inside the data set"):
        open_source(path)

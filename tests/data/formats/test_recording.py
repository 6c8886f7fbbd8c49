"""What is wrong with a recorded data set is said with its file and frame."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import DataError
from sinew.data.config import IngestConfig
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of
from sinew.data.formats.recording import Recording
from sinew.data.recording import BEGINNING, HEADER, entry, read_ends


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A recording of three episodes, with auxiliary labels."""
    labels = [np.full((5 + number, 3), number, np.float32) for number in range(3)]
    Recording.write(tmp_path / "set", [smooth_episode(k, targets={"place": labels[k]}) for k in range(3)])
    return tmp_path / "set"


def again(file: Path, **changes: Any) -> None:  # noqa: ANN401
    """Write a file's beginning again, with values changed and a fitting checksum."""
    _, _, start = read_ends(file)
    content = file.read_bytes()
    begin = json.loads(content[HEADER.size : start]) | changes
    file.write_bytes(bytes(entry(BEGINNING, 0, json.dumps(begin).encode())) + content[start:])


def test_a_damaged_frame_is_named(path: Path) -> None:
    file = path / "episode_000001.rec"
    beginning, _, start = read_ends(file)
    content = bytearray(file.read_bytes())
    content[start + 2 * beginning.frame.itemsize + 100] ^= 1
    file.write_bytes(content)
    source = open_source(path)
    with pytest.raises(DataError, match=r"episode_000001\.rec: frame 2 of 6 is damaged"):
        read_episode(source, 1, robot_of(source))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": [["state", "|O", [2]]]}, r"columns of type \|O"),
        ({"columns": [["state", "<f4", [1 << 40]]]}, "not understood"),
        ({"columns": [["state", "<f4", [-1]]]}, "not understood"),
        ({"columns": [["state", "<f4"]]}, "not understood"),
        ({"columns": [["a", "<f4", [2]], ["a", "<f4", [2]]]}, "not understood"),
        ({"spec": 7}, "not understood"),
        ({"schema_version": 9}, "schema version 9, this sinew reads 1"),
        ({"columns": []}, "no whole ending"),
        ({"spec": {"hz": "fast"}}, "episode_000000.rec"),
    ],
)
def test_a_beginning_that_makes_no_sense_is_refused(path: Path, changes: dict[str, Any], words: str) -> None:
    again(path / "episode_000000.rec", **changes)
    with pytest.raises(DataError, match=words):
        robot_of(open_source(path))


def test_episodes_of_different_robots_are_refused(path: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(SPEC, hz=50.0)
    Recording.write(tmp_path / "other", [smooth_episode(0, spec=other)])
    (tmp_path / "other" / "episode_000000.rec").rename(path / "episode_000007.rec")
    with pytest.raises(DataError, match=r"episode_000007\.rec: was recorded with another robot"):
        open_source(path)


def test_an_episode_is_left_out_by_removing_its_file(path: Path) -> None:
    (path / "episode_000001.rec").unlink()
    assert open_source(path).lengths == (5, 7)


def test_an_unfinished_episode_alone_is_no_set_yet(tmp_path: Path) -> None:
    (tmp_path / "episode_000000.open").write_bytes(b"")
    with pytest.raises(DataError, match=r"no finished episode, only episode_000000\.open.*sinew data recover"):
        open_source(tmp_path)


def test_a_store_takes_labels_along_and_scales_images(path: Path, tmp_path: Path) -> None:
    store = open_dataset(path, into=tmp_path / "stores", config=IngestConfig(image_size=(8, 8)))
    assert store.episode(2).targets["place"].shape == (7, 3)
    assert store.episode(2).images["front"].shape == (7, 3, 8, 8)

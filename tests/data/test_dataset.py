from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import GOLDEN
from data.quality.healthy import SPEC, healthy, store_of
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.data.config import IngestConfig
from sinew.data.dataset import check_format, check_same_robot, open_any, open_unmasked, write_any
from sinew.data.mask import Mask, Part, mask_path, write_mask

EPISODES = [healthy(number) for number in range(3)]


@pytest.mark.parametrize("to", ["hdf5", "lerobot", "store"])
def test_what_is_written_reads_back_the_same(to: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    counts: list[int] = []
    write_any(path, EPISODES, to=to, storage="image" if to == "lerobot" else None, on_episode=counts.append)
    assert counts == [1, 2, 3]
    dataset = open_any(path)
    assert (dataset.format, dataset.lengths, dataset.spec) == (to, (40, 40, 40), SPEC)
    assert dataset.instructions == tuple(episode.instruction for episode in EPISODES)
    assert dataset.files
    for number, episode in enumerate(EPISODES):
        back = dataset.episode(number)
        np.testing.assert_array_equal(back.state, episode.state)
        np.testing.assert_array_equal(back.images["front"], episode.images["front"])
    bare = open_any(path, images=False)
    assert dict(bare.episode(1).images) == {}
    np.testing.assert_array_equal(bare.episode(1).action, EPISODES[1].action)
    with pytest.raises(DataError, match="something here already"):
        write_any(path, EPISODES, to=to)


def test_a_failed_write_of_a_store_leaves_nothing(tmp_path: Path) -> None:
    bad = healthy(1, state=np.full((40, 4), np.nan, np.float32))
    for episodes, words in (([EPISODES[0], bad], "shoulder"), ([], "no episodes")):
        with pytest.raises(DataError, match=words):
            write_any(tmp_path / "out", episodes, to="store")
        assert list(tmp_path.iterdir()) == []


def test_formats_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tape: no such format\. Written are: .*store"):
        check_format("tape")
    with pytest.raises(ConfigError, match="hdf5 keeps images as image; video was asked for"):
        write_any(tmp_path / "out", EPISODES, to="hdf5", storage="video")


def test_a_mask_beside_the_data_is_looked_through(tmp_path: Path) -> None:
    path = store_of(tmp_path / "s", EPISODES)
    write_mask(mask_path(path), Mask(3, {0: Part(None), 1: Part((5, 30))}))
    masked = open_any(path)
    assert (masked.lengths, masked.tasks) == ((25, 40), ("drop", "lift"))
    np.testing.assert_array_equal(masked.episode(0).state, EPISODES[1].state[5:30])
    assert open_unmasked(path).lengths == (40, 40, 40)


def test_a_sentence_for_episodes_that_have_none(tmp_path: Path) -> None:
    path = store_of(tmp_path / "s", [healthy(0, instruction="", task=""), healthy(1)])
    dataset = open_any(path, IngestConfig(instruction="stack them"))
    assert dataset.instructions == ("stack them", "drop it")
    assert (dataset.episode(0).instruction, dataset.episode(0).task) == ("stack them", "stack them")
    with pytest.raises(DataError, match="leave spec and image size out"):
        open_any(path, IngestConfig(image_size=(8, 8)))


def test_a_robot_that_is_not_told_is_made_up_to_look_and_refused_to_learn() -> None:
    dataset = open_unmasked(GOLDEN / "image")
    assert dataset.unsaid == {"kind", "low", "high", "state_units", "action_units"}
    assert "state_units   their units" in dataset.problem
    dataset.episode(0)
    with pytest.raises(DataError, match="state_units   their units"):
        open_any(GOLDEN / "image")


def test_data_of_two_robots_are_told_apart(tmp_path: Path) -> None:
    other = dataclasses.replace(SPEC, hz=20.0)
    one = open_any(store_of(tmp_path / "one", EPISODES))
    two = open_any(store_of(tmp_path / "two", [healthy(0, spec=other)]))
    check_same_robot(one, one)
    with pytest.raises(SpecError, match="not the same robot") as caught:
        check_same_robot(one, two)
    for words in (str(one.path), str(two.path), "hz", "10.0", "20.0"):
        assert words in str(caught.value)

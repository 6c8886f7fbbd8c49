from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.quality.healthy import SPEC, healthy, store_of
from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.data import rearrange
from sinew.data.dataset import Dataset, open_any, write_any


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_any(store_of(tmp_path / "demos", [healthy(number, 12) for number in range(10)]))


def test_merged_sets_follow_each_other_and_say_where_they_came_from(dataset: Dataset, tmp_path: Path) -> None:
    write_any(tmp_path / "more.hdf5", [healthy(number, 15) for number in (20, 21)], to="hdf5")
    other = open_any(tmp_path / "more.hdf5")
    write_any(tmp_path / "both", rearrange.merged([dataset, other]), to="store")
    both = open_any(tmp_path / "both")
    assert both.lengths == (12,) * 10 + (15,) * 2
    assert [both.episode(number).source for number in (0, 10)] == ["demos", "more"]
    np.testing.assert_array_equal(both.episode(11).state, healthy(21, 15).state)


def test_sets_of_two_robots_are_not_merged_and_nothing_is_written(dataset: Dataset, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, action_units=("deg", "deg", "1"))
    other = open_any(store_of(tmp_path / "other", [healthy(0, spec=spec)]))
    with pytest.raises(SpecError, match="action_units") as caught:
        write_any(tmp_path / "both", rearrange.merged([dataset, other]), to="store")
    assert "('rad', 'rad', '1')" in str(caught.value)
    assert "('deg', 'deg', '1')" in str(caught.value)
    assert not (tmp_path / "both").exists()


def test_a_share_is_taken_from_each_task_and_the_same_every_time(dataset: Dataset) -> None:
    chosen = rearrange.chosen_by_share(dataset, 0.4)
    assert chosen == rearrange.chosen_by_share(dataset, 0.4)
    assert [dataset.tasks[number] for number in chosen].count("lift") == 2
    assert len(chosen) == 4
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="more than 0 and less than 1"):
            rearrange.chosen_by_share(dataset, share)


def test_tasks_and_numbers_choose_episodes(dataset: Dataset) -> None:
    assert rearrange.chosen_by_task(dataset, ["drop"]) == (1, 3, 5, 7, 9)
    assert rearrange.chosen_by_number(dataset, "0-2, 7,2") == (0, 1, 2, 7)
    with pytest.raises(ConfigError, match=r"task turn: not in .* drop, lift"):
        rearrange.chosen_by_task(dataset, ["turn"])
    for text in ("10", "3-1", "x", "", "0-99999999999"):
        with pytest.raises(ConfigError, match="none of the 10 episodes"):
            rearrange.chosen_by_number(dataset, text)


def test_both_sides_of_a_split_together_are_the_whole(dataset: Dataset) -> None:
    stay, leave = rearrange.split(dataset, (1, 4))
    assert sorted((*stay, *leave)) == list(range(10))
    assert [episode.id for episode in rearrange.some(dataset, leave)] == ["train/1", "train/4"]
    for chosen in ((), tuple(range(10))):
        with pytest.raises(DataError, match="at least one has to be on either side"):
            rearrange.split(dataset, chosen)

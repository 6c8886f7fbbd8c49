"""The layout is from D4RL's source: its own files are not at hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import DataError
from sinew.core.types import SensorSpec
from sinew.data.formats.d4rl import D4rl
from sinew.data.formats.ingest import open_dataset, open_source, read_episode, robot_of

SAID = {"embodiment": "hopper", "hz": 125, "kind": "absolute", "low": "data", "high": "data"}
STEPS = 10
ENDS = {"terminals": 3, "timeouts": 7}
"""The step after which an episode ends by itself, and the one after which one is cut; two more steps follow."""
ARRAYS = {
    "observations": np.arange(STEPS * 3, dtype=np.float32).reshape(STEPS, 3),
    "actions": np.linspace(-1, 1, STEPS * 2, dtype=np.float32).reshape(STEPS, 2),
    "rewards": np.arange(STEPS, dtype=np.float32),
    "terminals": np.arange(STEPS) == ENDS["terminals"],
    "timeouts": np.arange(STEPS) == ENDS["timeouts"],
    "infos/qpos": np.arange(STEPS * 4, dtype=np.float64).reshape(STEPS, 4),
}


def write(path: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Write D4RL's arrays with some changed, None leaves one out, and a spec beside them."""
    with h5py.File(path, "w") as file:
        for name, values in (ARRAYS | changes).items():
            if values is not None:
                file[name] = values
        file["metadata/algorithm"] = "SAC"
    path.with_suffix(".spec.json").write_text(json.dumps(SAID))
    return path


def next_of(observations: Any) -> Any:  # noqa: ANN401
    """Return next observations: where an episode ends, one that is not the next row."""
    after = np.concatenate([observations[1:], observations[-1:] + 1])
    after[list(ENDS.values())] += 100
    return after


def test_episodes_end_after_terminals_and_timeouts_and_only_terminals_end_by_themselves(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "hopper.hdf5"))
    assert isinstance(source, D4rl)
    assert source.lengths == (4, 4, 2)
    assert not source.judged
    assert source.tasks == ("hopper",) * 3
    assert source.unread == ("infos", "metadata")
    spec = robot_of(source)
    assert spec.state == ("observation_0", "observation_1", "observation_2")
    assert set(spec.action_units) == {"raw"}
    episodes = [read_episode(source, number, spec) for number in range(3)]
    assert [episode.terminated for episode in episodes] == [True, False, False]
    assert all(episode.final_state is None for episode in episodes)  # nothing to take the value of a cut episode from
    for name, field in (("observations", "state"), ("actions", "action"), ("rewards", "reward")):
        together = np.concatenate([getattr(episode, field) for episode in episodes])
        np.testing.assert_array_equal(together, ARRAYS[name])


def test_the_state_after_a_cut_is_known_where_next_observations_are(tmp_path: Path) -> None:
    after = next_of(ARRAYS["observations"])
    source = open_source(write(tmp_path / "hopper.hdf5", next_observations=after))
    spec = robot_of(source)
    for number, last in enumerate((3, 7, 9)):
        np.testing.assert_array_equal(read_episode(source, number, spec).final_state, after[last])


def test_without_timeouts_episodes_are_cut_where_observations_jump(tmp_path: Path) -> None:
    after = next_of(ARRAYS["observations"])
    source = open_source(write(tmp_path / "hopper.hdf5", timeouts=None, next_observations=after))
    assert source.lengths == (4, 4, 2)


def test_without_anything_that_says_where_it_was_cut_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither timeouts nor next_observations and does not end with a terminal"):
        open_source(write(tmp_path / "hopper.hdf5", timeouts=None))
    every_fifth = np.arange(STEPS) % 5 == 4
    assert open_source(write(tmp_path / "kitchen.hdf5", timeouts=None, terminals=every_fifth)).lengths == (5, 5)


def test_flags_and_rewards_may_be_columns_and_numbers(tmp_path: Path) -> None:
    flags = {name: ARRAYS[name].astype(np.float32)[:, None] for name in ("terminals", "timeouts")}
    source = open_source(write(tmp_path / "hopper.hdf5", rewards=ARRAYS["rewards"][:, None], **flags))
    assert source.lengths == (4, 4, 2)
    np.testing.assert_array_equal(read_episode(source, 1, robot_of(source)).reward, [4, 5, 6, 7])


def test_it_becomes_a_store_without_a_sentence(tmp_path: Path) -> None:
    store = open_dataset(write(tmp_path / "hopper.hdf5"), into=tmp_path / "stores")
    assert [record.frames for record in store.records] == [4, 4, 2]
    assert store.records[0].task == "hopper"
    np.testing.assert_array_equal(store.column("reward"), ARRAYS["rewards"])


def test_infos_are_sensors_where_the_spec_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "hopper.hdf5")
    sensors = {"qpos": {"shape": [4], "unit": "rad", "hz": 125}}
    path.with_suffix(".spec.json").write_text(json.dumps(SAID | {"sensors": sensors}))
    source = open_source(path)
    found = read_episode(source, 1, robot_of(source)).sensors["qpos"]
    np.testing.assert_array_equal(found, ARRAYS["infos/qpos"][4:8].astype(np.float32))


def test_what_only_we_say_round_trips(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, cameras={}, sensors={"depth": SensorSpec((2, 3), "mm", 10.0, dtype="uint16")})
    episodes = [
        smooth_episode(
            number,
            spec=spec,
            sensors={"depth": np.full((5 + number, 2, 3), 7 * number, np.uint16)},
            reward=np.arange(5 + number, dtype=np.float32) if number else None,
            terminated=number == 1,
            final_state=np.ones(2, np.float32) if number else None,
            instruction="x" * 30_000,
        )
        for number in range(3)
    ]
    D4rl.write(tmp_path / "out.hdf5", episodes)
    source = open_source(tmp_path / "out.hdf5")
    assert robot_of(source) == spec
    assert source.judged
    for number, episode in enumerate(episodes):
        back = read_episode(source, number, spec)
        np.testing.assert_array_equal(back.sensors["depth"], episode.sensors["depth"])
        np.testing.assert_array_equal(back.reward, episode.reward)
        np.testing.assert_array_equal(back.final_state, episode.final_state)
        assert (back.instruction, back.success) == (episode.instruction, episode.success)


def test_images_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has images \(front, wrist\), which D4RL's layout cannot hold"):
        D4rl.write(tmp_path / "out.hdf5", [smooth_episode(0)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actions": ARRAYS["actions"][:9]}, "arrays differ in length or are empty .*actions 9"),
        ({"actions": ARRAYS["actions"].astype(int)}, "actions is int64, floating point"),
        ({"rewards": np.full(STEPS, np.nan, np.float32)}, "episode_0, frame 0: reward is nan"),
        ({"observations": ARRAYS["observations"].astype("S4")}, "observations is .S4, numbers are needed"),
        ({name: values[:0] for name, values in ARRAYS.items()}, "arrays differ in length or are empty"),
    ],
)
def test_bad_arrays_are_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "hopper.hdf5", **changes)
    with pytest.raises(DataError, match=rf"(?s)hopper\.hdf5.*{words}"):
        open_dataset(path, into=tmp_path / "stores")


@pytest.mark.parametrize("text", ["{", "3", '[{"reward": "x"}]', "[]"])
def test_an_attribute_of_ours_that_was_damaged_is_refused(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "hopper.hdf5")
    with h5py.File(path, "a") as file:
        file.attrs["episodes"] = text
    with pytest.raises(DataError, match="attribute episodes"):
        open_source(path)

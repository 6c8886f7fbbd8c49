from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.formats.pairs import llava, row
from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import ConfigError, DataError
from sinew.data.config import IngestConfig
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import held_out, open_dataset, open_source
from sinew.data.store import Store

EPISODES = [smooth_episode(number) for number in range(4)]


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    Hdf5.write(tmp_path / "demos.hdf5", EPISODES)
    return tmp_path / "demos.hdf5"


def test_a_data_set_becomes_a_store_once(demos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    store = open_dataset(demos, into=tmp_path / "stores", on_progress=lambda *done: seen.append(done))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert store.spec == SPEC
    assert store.target_sizes == {}
    assert [record.id for record in store.records] == [f"episode_{number}" for number in range(4)]
    np.testing.assert_array_equal(store.episode(3).images["front"], EPISODES[3].images["front"])
    again = open_dataset(demos, into=tmp_path / "stores", on_progress=lambda *done: seen.append(done))
    assert again.path == store.path
    assert len(seen) == 5
    assert [path.name for path in (tmp_path / "stores").iterdir()] == [store.path.name]
    assert not (store.path / "writer.lock").exists()
    assert open_dataset(store.path, into=tmp_path).path == store.path


def test_images_over_the_budget_are_packed_as_jpeg(demos: Path, tmp_path: Path) -> None:
    raw = open_dataset(demos, into=tmp_path / "stores")
    frames = sum(episode.num_frames for episode in EPISODES)
    raw_gb = frames * 3 * (16 * 20 + 12 * 12) / 1e9
    fits = open_dataset(demos, into=tmp_path / "stores", config=IngestConfig(raw_gb=raw_gb))
    assert fits.path == raw.path
    packed = open_dataset(demos, into=tmp_path / "stores", config=IngestConfig(raw_gb=0.999 * raw_gb))
    assert packed.layout.jpeg
    assert packed.path != raw.path
    assert not raw.layout.jpeg
    np.testing.assert_array_equal(packed.episode(3).action, raw.episode(3).action)
    difference = np.abs(packed.episode(3).images["front"].astype(int) - raw.episode(3).images["front"])
    assert difference.mean() < 2
    with pytest.raises(ConfigError, match="raw_gb is -1"):
        open_dataset(demos, into=tmp_path / "stores", config=IngestConfig(raw_gb=-1))


def test_other_data_or_settings_make_another_store(demos: Path, tmp_path: Path) -> None:
    first = open_dataset(demos, into=tmp_path / "stores")
    small = open_dataset(demos, into=tmp_path / "stores", config=IngestConfig(image_size=(8, 8)))
    assert small.episode(0).images["front"].shape[1:] == (3, 8, 8)
    Hdf5.write(tmp_path / "other" / "demos.hdf5", EPISODES[:2])
    (tmp_path / "other" / "demos.hdf5").replace(demos)
    other = open_dataset(demos, into=tmp_path / "stores")
    assert other.num_episodes == 2
    assert len({first.path, small.path, other.path}) == 3


def test_a_stopped_call_goes_on_where_it_was(demos: Path, tmp_path: Path) -> None:
    def stop(done: int, _wanted: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset(demos, into=tmp_path / "stores", on_progress=stop)
    assert [path.suffix for path in (tmp_path / "stores").iterdir()] == [".partial"]
    seen: list[int] = []
    store = open_dataset(demos, into=tmp_path / "stores", on_progress=lambda done, _: seen.append(done))
    assert seen == [2, 3, 4]
    whole = open_dataset(demos, into=tmp_path / "elsewhere")
    assert store.records == whole.records


def test_a_damaged_episode_leaves_no_store_under_the_final_name(demos: Path, tmp_path: Path) -> None:
    with h5py.File(demos, "a") as file:
        file["episode_2/actions"][1, 1] = 0.5  # neither of the two values of a binary action
    with pytest.raises(DataError, match=r"demos.hdf5: episode episode_2, frame 1: action.grip is 0.5"):
        open_dataset(demos, into=tmp_path / "stores")
    assert all(path.suffix == ".partial" for path in (tmp_path / "stores").iterdir())


def test_an_empty_sentence_is_refused_or_given(tmp_path: Path) -> None:
    Hdf5.write(tmp_path / "demos.hdf5", [EPISODES[0], smooth_episode(1, instruction=" ", task="")])
    with pytest.raises(DataError, match=r"the instruction is empty in 1 of 2 episodes \(episode 1\)"):
        open_dataset(tmp_path / "demos.hdf5", into=tmp_path / "stores")
    config = IngestConfig(instruction="lift it")
    store = open_dataset(tmp_path / "demos.hdf5", into=tmp_path / "stores", config=config)
    assert [record.instruction for record in store.records] == ["lift the left one", "lift it"]


def test_one_process_at_a_time_ingests_a_data_set(demos: Path, tmp_path: Path) -> None:
    name = open_dataset(demos, into=tmp_path / "stores").path.name
    busy = Store.create(tmp_path / "others" / f"{name}.partial", SPEC)
    busy.lock()
    pid = os.fork()
    if pid == 0:
        try:
            open_dataset(demos, into=tmp_path / "others")
        except DataError as error:
            os._exit(0 if "is writing here" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    busy.unlock()
    assert open_dataset(demos, into=tmp_path / "others").num_episodes == 4


@pytest.mark.parametrize(
    ("tasks", "share", "wanted"),
    [
        (["a"] * 50, 0.1, 5),
        (["a"] * 51, 0.1, 6),
        (list("abcdefghij") * 2, 0.1, 2),
        (["a"] * 2, 0.9, 1),
        (["a"], 0.5, 0),
    ],
)
def test_a_share_of_the_episodes_is_held_out(tasks: list[str], share: float, wanted: int) -> None:
    assert len(held_out(tasks, share)) == wanted
    assert held_out(tasks, share) == held_out(tasks, share)


def test_held_out_episodes_come_from_every_task_and_leave_some_of_each() -> None:
    tasks = ["a"] * 20 + ["b"] * 20 + ["c"] * 2
    chosen = held_out(tasks, 0.2)
    left = [task for number, task in enumerate(tasks) if number not in chosen]
    assert {tasks[number] for number in chosen} >= {"a", "b"}
    assert set(left) == {"a", "b", "c"}


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path, words in ((tmp_path / "none", "no such data set"), (tmp_path / "notes.txt", "no data set of a format")):
        with pytest.raises(DataError, match=words):
            open_source(path)


@pytest.mark.parametrize(
    "config", [IngestConfig(held_out=1.0), IngestConfig(image_size=(4, 4)), IngestConfig(instruction=" ")]
)
def test_senseless_settings_are_refused(config: IngestConfig, demos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_dataset(demos, into=tmp_path / "stores", config=config)


def test_images_with_text_are_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds images with text, no recordings of a robot"):
        open_source(llava(tmp_path, [row(0)]))

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import NumpyBatch, SensorSpec
from sinew.data.episode import Episode
from sinew.data.reading import Reading
from sinew.data.sampler import BatchSampler
from sinew.data.store import Store
from sinew.data.windows import TaskCount, Windows
from toy_data import SPEC, random_episode


def store_of(path: Path, episodes: list[Episode]) -> Store:
    store = Store.create(path, SPEC, tuple(episodes[0].targets))
    store.append(episodes)
    return store


def random_episodes(first: int, count: int, seed: int) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return [
        random_episode(
            number,
            int(rng.integers(1, 9)),
            label_horizon=[None, 1, 2, 3][rng.integers(4)],
            held_out=bool(rng.random() < 0.3),
        )
        for number in range(first, first + count)
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one CPU
@pytest.mark.parametrize("jpeg", [False, True])
def test_forked_workers_of_a_torch_loader_give_the_batches_that_one_process_gives(
    tmp_path: Path,
    jpeg: bool,
) -> None:
    from torch.utils.data import DataLoader

    store = Store.create(tmp_path / "s", SPEC, ("goal",), jpeg=jpeg)
    store.append(random_episodes(0, 9, 0))
    store.read_as(Reading(held_out=frozenset({1, 4})))
    windows = Windows([store], history=2, horizon=3)
    sampler = BatchSampler(len(windows), batch=4, seed=0)
    wanted = [windows.gather(np.array(frames)) for frames in islice(sampler, 6)]  # maps the files before the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of threaded processes
        loader = DataLoader(
            windows,
            batch_sampler=islice(sampler, 6),
            collate_fn=as_it_is,
            num_workers=2,
            multiprocessing_context="fork",
        )  # type: ignore[arg-type]
        found = list(loader)
    again = pickle.loads(pickle.dumps(windows))  # as workers that are spawned get it
    np.testing.assert_array_equal(again.gather(np.arange(3)).ids, windows.gather(np.arange(3)).ids)
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.obs.images["front"], two.obs.images["front"])
        np.testing.assert_array_equal(one.actions, two.actions)
        assert one.ids.tolist() == two.ids.tolist()
        assert one.obs.instruction == two.obs.instruction


def as_it_is(batch: NumpyBatch) -> NumpyBatch:
    return batch


def test_one_window_is_a_batch_of_one_row(tmp_path: Path) -> None:
    windows = Windows([store_of(tmp_path / "s", random_episodes(0, 3, 0))], history=1, horizon=2)
    assert len(windows) == windows.num_frames
    np.testing.assert_array_equal(windows[-1].actions, windows.gather(np.array([len(windows) - 1])).actions)
    with pytest.raises(IndexError, match="there are"):
        windows[len(windows)]


def test_actions_are_handed_out_as_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    names = {"state": ("move", "last"), "action": ("move", "honk"), "action_units": ("m", "1"), "kind": "absolute"}
    spec = replace(SPEC, **names)
    store = Store.create(tmp_path / "s", spec)
    episode = random_episode(0, 4, spec=spec, targets={}, state=np.random.default_rng(1).random((4, 2), np.float32))
    store.append([episode])
    plain = Windows([store], history=1, horizon=3).gather(np.arange(4))
    relative = Windows([store], history=1, horizon=3, kind="relative").gather(np.arange(4))
    delta = Windows([store], history=1, horizon=3, kind="delta").gather(np.arange(4))
    same = Windows([store], history=1, horizon=3, kind="absolute").gather(np.arange(4))
    np.testing.assert_array_equal(plain.actions, same.actions)
    np.testing.assert_array_equal(relative.actions[..., 1], plain.actions[..., 1])
    np.testing.assert_allclose(relative.actions[..., 0] + episode.state[:, None, 0], plain.actions[..., 0], atol=1e-6)
    future = np.minimum(np.arange(4)[:, None] + np.arange(3), 3)
    np.testing.assert_allclose(delta.actions[..., 0] + episode.state[future, 0], plain.actions[..., 0], atol=1e-6)
    with pytest.raises(SpecError, match="no action has no state"):
        Windows([store_of(tmp_path / "t", [random_episode(0)])], history=1, horizon=1, kind="absolute")


def test_sensor_readings_come_with_the_history(tmp_path: Path) -> None:
    spec = replace(SPEC, sensors={"force": SensorSpec((2,), "N", 10.0)})
    readings = np.arange(6, dtype=np.float32).reshape(3, 2)
    store = Store.create(tmp_path / "s", spec)
    store.append([random_episode(0, 3, spec=spec, targets={}, sensors={"force": readings})])
    obs = Windows([store], history=2, horizon=1).gather(np.array([0, 2])).obs
    np.testing.assert_array_equal(obs.sensors["force"], readings[[[0, 0], [1, 2]]])


@pytest.mark.parametrize(("history", "horizon", "seed"), [(1, 1, 0), (1, 4, 1), (3, 5, 2), (5, 2, 3)])
def test_windows_equal_those_cut_one_by_one_and_never_cross_an_episode(
    tmp_path: Path, history: int, horizon: int, seed: int
) -> None:
    parts = [random_episodes(0, 12, seed), random_episodes(12, 9, seed + 100)]
    stores = [store_of(tmp_path / str(number), part) for number, part in enumerate(parts)]
    for held_out in (False, True):
        windows = Windows(stores, history=history, horizon=horizon, held_out=held_out)
        chosen = [episode for part in parts for episode in part if episode.held_out == held_out]
        places = [(episode, tick) for episode in chosen for tick in range(episode.num_frames)]
        assert windows.num_frames == len(places)
        order = np.random.default_rng(seed).permutation(len(places))
        batch = windows.gather(order)
        assert batch.obs.images["front"].dtype == np.uint8
        for row, (episode, tick) in enumerate(places[index] for index in order):
            past = [max(tick - back, 0) for back in reversed(range(history))]
            known = min(episode.num_frames - tick, episode.label_horizon or horizon)
            future = [tick + min(step, known - 1) for step in range(horizon)]
            np.testing.assert_array_equal(batch.obs.images["front"][row], episode.images["front"][past])
            np.testing.assert_array_equal(batch.obs.state[row], episode.state[past])
            np.testing.assert_array_equal(batch.actions[row], episode.action[future])
            np.testing.assert_array_equal(batch.targets["goal"][row], episode.targets["goal"][tick])
            assert batch.is_pad[row].tolist() == [step >= known for step in range(horizon)]
            assert not batch.is_pad[row, 0]
            assert (batch.obs.instruction[row], batch.task[row], batch.source[row]) == (
                episode.instruction,
                episode.task,
                "random",
            )
            if history == 1:
                assert batch.obs.history_is_pad is None
            else:
                assert batch.obs.history_is_pad is not None
                assert batch.obs.history_is_pad[row].tolist() == [tick < back for back in reversed(range(history))]
        assert batch.weight.tolist() == [1.0] * len(places)


def test_train_and_held_out_share_no_frame_and_miss_none(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", random_episodes(0, 20, 0))
    ids: list[int] = []
    for held_out in (False, True):
        windows = Windows([store], history=1, horizon=1, held_out=held_out)
        found = windows.gather(np.arange(windows.num_frames)).ids
        assert found is not None
        ids += found.tolist()
    assert sorted(ids) == list(range(store.num_frames))


def test_numbers_stay_the_same_when_the_last_store_grows(tmp_path: Path) -> None:
    first = store_of(tmp_path / "a", random_episodes(0, 5, 0))
    last = Store.create(tmp_path / "b", SPEC, ("goal",))
    windows = Windows([first, last], history=2, horizon=3)
    before = windows.num_frames
    old = windows.gather(np.arange(before))
    writer = Store.open(tmp_path / "b")
    writer.append([random_episode(7, 4)])
    assert windows.num_frames == before
    windows.refresh()
    assert windows.num_frames == before + 4
    again = windows.gather(np.arange(before))
    np.testing.assert_array_equal(again.obs.images["front"], old.obs.images["front"])
    np.testing.assert_array_equal(again.actions, old.actions)
    assert windows.gather(np.arange(before, before + 4)).obs.state[:, -1, 0].tolist() == [7000, 7001, 7002, 7003]


def test_targets_that_a_store_lacks_are_nan(tmp_path: Path) -> None:
    aim = {"aim": np.ones((3, 2), np.float32)}
    stores = [
        store_of(tmp_path / "a", [random_episode(0)]),
        store_of(tmp_path / "b", [random_episode(1, targets=aim)]),
    ]
    targets = Windows(stores, history=1, horizon=1).gather(np.array([0, 3])).targets
    assert np.isnan(targets["aim"]).tolist() == [[True, True], [False, False]]
    assert np.isnan(targets["goal"]).tolist() == [[False], [True]]


def test_tasks_are_counted(tmp_path: Path) -> None:
    lengths = (3, 1, 4, 2)
    episodes = [random_episode(number, frames) for number, frames in enumerate(lengths)]
    episodes[3] = replace(episodes[3], held_out=True)
    windows = Windows([store_of(tmp_path / "s", episodes)], history=1, horizon=1)
    assert windows.tasks == ("left", "right")
    assert windows.describe() == (TaskCount("left", 2, 7), TaskCount("right", 1, 1))


def test_a_batch_is_a_writable_copy(tmp_path: Path) -> None:
    windows = Windows([store_of(tmp_path / "s", [random_episode(0)])], history=1, horizon=2)
    batch = windows.gather(np.array([0]))
    for array in (batch.obs.images["front"], batch.obs.state, batch.actions, batch.targets["goal"]):
        array[:] = 0
    np.testing.assert_array_equal(windows.gather(np.array([0])).obs.state[0, 0], random_episode(0).state[0])


@pytest.mark.parametrize("frames", [[-1], [0, 3]])
def test_frames_that_do_not_exist_are_refused(tmp_path: Path, frames: list[int]) -> None:
    windows = Windows([store_of(tmp_path / "s", [random_episode(0)])], history=1, horizon=1)
    with pytest.raises(DataError, match="there are 3"):
        windows.gather(np.array(frames))


def test_stores_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    one = store_of(tmp_path / "a", [random_episode(0)])
    other = Store.create(tmp_path / "b", replace(SPEC, hz=5.0), ("goal",))
    with pytest.raises(SpecError, match="hz"):
        Windows([one, other], history=1, horizon=1)
    wide = store_of(tmp_path / "c", [random_episode(1, targets={"goal": np.zeros((3, 2), np.float32)})])
    with pytest.raises(DataError, match="target goal has 2 values, in another store 1"):
        Windows([one, wide], history=1, horizon=1)
    with pytest.raises(ConfigError, match="history 0"):
        Windows([one], history=0, horizon=1)


def _gather_in_child(windows: Windows, frames: NDArray[np.int64], results: multiprocessing.Queue[list[float]]) -> None:
    for _ in range(50):
        state = windows.gather(frames).obs.state
    results.put([float(frames[0]), *state[:, -1, 0].tolist()])


def test_forked_children_read_what_they_ask_for(tmp_path: Path) -> None:
    windows = Windows([store_of(tmp_path / "s", random_episodes(0, 12, 5))], history=2, horizon=2)
    everything = windows.gather(np.arange(windows.num_frames)).obs.state[:, -1, 0]  # maps the files before the fork
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[list[float]] = context.Queue()
    asked = [np.random.default_rng(seed).permutation(windows.num_frames) for seed in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of threaded processes
        children = [context.Process(target=_gather_in_child, args=(windows, frames, results)) for frames in asked]
        for child in children:
            child.start()
    found = sorted(results.get(timeout=60) for _ in children)
    for child in children:
        child.join()
    assert found == sorted([float(frames[0]), *everything[frames].tolist()] for frames in asked)


def test_labels_take_the_place_of_what_was_recorded(tmp_path: Path) -> None:
    store = store_of(tmp_path, [random_episode(0), random_episode(1, held_out=True), random_episode(2)])
    labels = {"image.thing": np.arange(18, dtype=np.float32).reshape(9, 2)}
    windows = Windows([store], history=1, horizon=2, labels=labels)
    batch = windows.gather(np.array([0, 5]))
    assert set(batch.targets) == {"image.thing"}
    np.testing.assert_array_equal(batch.targets["image.thing"], [[0, 1], [16, 17]])
    assert Windows([store], history=1, horizon=2, labels={}).gather(np.array([0])).targets == {}


def test_labels_of_other_frames_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, [random_episode(0)])
    with pytest.raises(DataError, match="labels thing are of 2 frames, 1 stores have 3"):
        Windows([store], history=1, horizon=2, labels={"thing": np.zeros((2, 2), np.float32)})


def test_an_episode_can_be_walked_through_by_name(tmp_path: Path) -> None:
    store = store_of(tmp_path, [random_episode(0, 2), random_episode(1, 4, held_out=True), random_episode(2, 3)])
    windows = Windows([store], history=1, horizon=2)
    assert windows.num_episodes == 2
    assert windows.frames_of(1).tolist() == [2, 3, 4]
    assert windows.named(1) == ("train/2", "go 2")
    with pytest.raises(DataError, match="no episode 2 among these windows, which are of 2"):
        windows.frames_of(2)


def test_previous_actions_are_those_executed_and_none_before_the_episode(tmp_path: Path) -> None:
    episodes = [random_episode(number, 4) for number in range(2)]
    store = store_of(tmp_path / "s", episodes)
    windows = Windows([store], history=1, horizon=1).remembering(2)
    before = windows.gather(np.arange(windows.num_frames)).obs.prev_actions
    assert before is not None
    begin = 0
    for episode in episodes:
        executed = np.concatenate([np.full((2, episode.spec.action_size), np.nan), episode.executed])
        for tick in range(episode.num_frames):
            np.testing.assert_array_equal(before[begin + tick], executed[tick : tick + 2].astype(np.float32))
        begin += episode.num_frames
    assert Windows([store], history=1, horizon=1).gather(np.array([0])).obs.prev_actions is None

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sinew.core.errors import DataError, SinewError, SpecError
from sinew.core.types import SensorSpec
from sinew.data.episode import Episode
from sinew.data.store import Store
from toy import ToyConfig
from toy_data import SPEC, random_episode

GOLDEN = Path(__file__).parent / "golden" / "store_1"
"""Written before stores could hold sensors and rewards."""
SENSING = replace(
    SPEC, sensors={"lidar": SensorSpec((5,), "m", 10.0), "depth": SensorSpec((1, 2, 3), "mm", 10.0, dtype="uint16")}
)


def assert_same(one: Episode, two: Episode) -> None:
    for name in ("state", "action", "executed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name, images in two.images.items():
        np.testing.assert_array_equal(one.images[name], images)
    for name, target in two.targets.items():
        np.testing.assert_array_equal(one.targets[name], target)
    for name, readings in two.sensors.items():
        np.testing.assert_array_equal(one.sensors[name], readings)
    for name in ("reward", "final_state"):
        assert (getattr(one, name) is None) == (getattr(two, name) is None)
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    arrays = ("state", "action", "executed", "reward", "final_state")
    empty = {"images": {}, "targets": {}, "sensors": {}, **dict.fromkeys(arrays)}
    assert replace(one, **empty) == replace(two, **empty)  # type: ignore[arg-type]


def assert_holds(store: Store, numbers: Sequence[int], lengths: Sequence[int]) -> None:
    assert store.num_episodes == len(numbers)
    assert store.num_frames == sum(lengths)
    for position, (number, frames) in enumerate(zip(numbers, lengths, strict=True)):
        assert_same(store.episode(position), random_episode(number, frames))


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def filled(path: Path, lengths: Sequence[int]) -> Store:
    store = Store.create(path, SPEC, ("goal",))
    store.append([random_episode(number, frames) for number, frames in enumerate(lengths)])
    store.unlock()
    return store


def run_script(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{textwrap.dedent(script)}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_episodes_survive_the_disk(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", (3, 1, 4))
    assert_holds(store, (0, 1, 2), (3, 1, 4))
    assert_holds(Store.open(tmp_path / "s"), (0, 1, 2), (3, 1, 4))
    assert Store.open(tmp_path / "s").spec == SPEC


def test_every_field_of_an_episode_is_kept(tmp_path: Path) -> None:
    episode = random_episode(5, instruction="größer\n☂", label_horizon=2, held_out=True, source="x", success=False)
    Store.create(tmp_path / "s", SPEC, ("goal",)).append([episode])
    assert_same(Store.open(tmp_path / "s").episode(0), episode)


def sensing_episode(number: int, frames: int, **changes: Any) -> Episode:  # noqa: ANN401
    """Return an episode with what only some data sets have: two sensors, rewards, how it ended."""
    rng = np.random.default_rng(number)
    content: dict[str, Any] = {
        "spec": SENSING,
        "sensors": {
            "depth": rng.integers(0, 2**16, (frames, 1, 2, 3), dtype=np.uint16),
            "lidar": np.where(rng.random((frames, 5)) < 0.5, np.nan, rng.random((frames, 5))).astype(np.float32),
        },
        "reward": rng.normal(size=frames).astype(np.float32),
        "terminated": bool(number % 2),
        "final_state": rng.normal(size=2).astype(np.float32) if number % 2 else None,
    }
    return random_episode(number, frames, **{**content, **changes})


def test_sensors_rewards_and_the_end_are_kept(tmp_path: Path) -> None:
    episodes = [sensing_episode(number, frames) for number, frames in enumerate((3, 1, 4))]
    Store.create(tmp_path / "s", SENSING, ("goal",)).append(episodes)
    store = Store.open(tmp_path / "s")
    for number, episode in enumerate(episodes):
        assert_same(store.episode(number), episode)
        store.episode(number).check()
    assert store.column("sensors.depth").shape == (8, 1, 2, 3)
    assert store.column("reward").shape == (8,)


def test_a_store_holds_sensors_and_rewards_in_all_episodes_or_none(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", SENSING, ("goal",))
    store.append([sensing_episode(0, 3)])
    with pytest.raises(DataError, match="has sensors depth, lidar and no rewards, the episodes before it have"):
        store.append([sensing_episode(1, 3, reward=None)])
    store.truncate(0)
    store.append([sensing_episode(1, 3, reward=None)])
    assert store.episode(0).reward is None
    assert Store.open(tmp_path / "s").layout.reward is False


def smooth_episodes(lengths: Sequence[int]) -> list[Episode]:
    ramp = np.linspace(0, 150, 4, dtype=np.uint8)
    return [
        random_episode(number, frames, images={"front": np.zeros((frames, 3, 4, 4), np.uint8) + ramp + 10 * number})
        for number, frames in enumerate(lengths)
    ]


def test_frames_packed_as_jpeg_are_the_same_within_a_few_levels_and_all_else_exactly(tmp_path: Path) -> None:
    episodes = smooth_episodes((3, 1, 4))
    together = Store.create(tmp_path / "s", SPEC, ("goal",), jpeg=True)
    together.append(episodes)
    apart = Store.create(tmp_path / "t", SPEC, ("goal",), jpeg=True)
    for episode in episodes:
        apart.append([episode])
    together.unlock()
    apart.unlock()
    assert contents(tmp_path / "s") == contents(tmp_path / "t")
    store = Store.open(tmp_path / "s")
    for number, episode in enumerate(episodes):
        back = store.episode(number)
        assert np.abs(back.images["front"].astype(int) - episode.images["front"]).max() <= 4
        assert_same(replace(back, images=episode.images), episode)
    store.truncate(1)
    store.append(episodes[1:])
    store.unlock()
    assert contents(tmp_path / "s") == contents(tmp_path / "t")


def test_a_crash_while_jpeg_was_written_leaves_what_was_there(tmp_path: Path) -> None:
    episodes = smooth_episodes((3, 2))
    store = Store.create(tmp_path / "s", SPEC, ("goal",), jpeg=True)
    store.append(episodes[:1])
    before = contents(tmp_path / "s")
    store.append(episodes[1:])
    store.unlock()
    after = contents(tmp_path / "s")
    for file in ("images.front.jpg", "images.front.i64"):  # written, but not in the log
        (tmp_path / "s" / file).write_bytes(after[file][:-1])
        (tmp_path / "s" / "episodes.jsonl").write_bytes(before["episodes.jsonl"])
        store = Store.open(tmp_path / "s")
        assert store.num_frames == 3
        store.append(episodes[1:])
        store.unlock()
        assert contents(tmp_path / "s") == after


def test_a_jpeg_store_that_was_cut_off_or_changed_names_episode(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", SPEC, ("goal",), jpeg=True)
    store.append(smooth_episodes((3, 2)))
    store.unlock()
    for file in ("images.front.jpg", "images.front.i64"):
        whole = (tmp_path / "s" / file).read_bytes()
        (tmp_path / "s" / file).write_bytes(whole[:-1])
        with pytest.raises(DataError, match=r"images.front.jpg: ends within episode 1 .*at frame 4 of 5"):
            Store.open(tmp_path / "s")
        (tmp_path / "s" / file).write_bytes(whole[:-1] + b"\x7f")
        with pytest.raises(DataError, match=r"episode 1 \(train/1\) is damaged|ends within episode 1"):
            Store.open(tmp_path / "s").episode(1)
        (tmp_path / "s" / file).write_bytes(whole)


def test_a_store_of_version_1_reads_as_ever_and_is_still_written_byte_for_byte(tmp_path: Path) -> None:
    assert_same(Store.open(GOLDEN).episode(0), random_episode(0, 3))
    assert_same(Store.open(GOLDEN).episode(1), random_episode(1, 2, label_horizon=1, held_out=True))
    store = Store.create(tmp_path / "s", SPEC, ("goal",))
    store.append([random_episode(0, 3), random_episode(1, 2, label_horizon=1, held_out=True)])
    store.unlock()
    assert contents(tmp_path / "s") == contents(GOLDEN)


def test_views_show_what_is_appended_later(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", (3,))
    early = store.column("state")
    store.append([random_episode(1, 2)])
    assert len(early) == 3
    assert store.column("state")[:, 0].tolist() == [0, 1, 2, 1000, 1001]
    assert store.column("images.front").shape == (5, 3, 4, 4)
    with pytest.raises(ValueError, match="read-only"):
        store.column("state")[0] = 0


def test_appending_one_by_one_or_together_writes_the_same_bytes(tmp_path: Path) -> None:
    filled(tmp_path / "together", (3, 1, 4))
    store = Store.create(tmp_path / "apart", SPEC, ("goal",))
    for number, frames in enumerate((3, 1, 4)):
        store.append([random_episode(number, frames)])
    store.unlock()
    assert contents(tmp_path / "apart") == contents(tmp_path / "together")


def test_reload_shows_what_another_writer_committed(tmp_path: Path) -> None:
    reader = filled(tmp_path / "s", (3,))
    writer = Store.open(tmp_path / "s")
    writer.append([random_episode(1, 2)])
    assert reader.num_episodes == 1
    reader.reload()
    assert_holds(reader, (0, 1), (3, 2))


def test_truncate_forgets_the_last_episodes_for_good(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", (3, 1, 4))
    store.truncate(1)
    assert_holds(store, (0,), (3,))
    store.append([random_episode(1, 2)])
    assert_holds(Store.open(tmp_path / "s"), (0, 1), (3, 2))
    with pytest.raises(DataError, match="cannot keep 3 episodes, there are 2"):
        store.truncate(3)
    store.truncate(0)
    assert Store.open(tmp_path / "s").num_frames == 0


def test_a_crash_at_any_byte_of_an_append_loses_that_append_only(tmp_path: Path) -> None:
    before = filled(tmp_path / "before", (2, 1))
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    after = Store.open(tmp_path / "after")
    after.append([random_episode(2, 1), random_episode(3, 1)])
    after.unlock()
    old, new = contents(tmp_path / "before"), contents(tmp_path / "after")
    log = "episodes.jsonl"
    order = [*(file for column in before.columns.values() for file in column.files), log]
    first_line = len(old[log]) + new[log][len(old[log]) :].index(b"\n") + 1
    torn = tmp_path / "torn"
    shutil.copytree(tmp_path / "before", torn)
    for name in order:
        for size in range(len(old[name]), len(new[name])):
            with (torn / name).open("ab") as file:
                file.write(new[name][size : size + 1])
            found = Store.open(torn)
            committed = 2 if name != log or size + 1 < first_line else 3 if size + 1 < len(new[log]) else 4
            assert found.num_episodes == committed
            if size % 10 == 0 or committed > 2:
                assert_holds(found, range(committed), (2, 1, 1, 1)[:committed])
            if size % 40 == 0:
                shutil.copytree(torn, tmp_path / f"{name}.{size}")
                again = Store.open(tmp_path / f"{name}.{size}")
                again.append([random_episode(2, 1), random_episode(3, 1)][committed - 2 :])
                again.unlock()
                assert contents(again.path) == new


def test_truncated_column_names_file_and_episode(tmp_path: Path) -> None:
    filled(tmp_path / "s", (3, 1, 4))
    file = tmp_path / "s" / "state.f32"
    file.write_bytes(file.read_bytes()[:-17])
    with pytest.raises(DataError, match=r"state\.f32: ends within episode 2 \(train/2\) of 3, at frame 5 of 8"):
        Store.open(tmp_path / "s")
    file.unlink()
    with pytest.raises(DataError, match=r"state\.f32: ends within episode 0"):
        Store.open(tmp_path / "s")


def test_damaged_bytes_name_store_and_episode(tmp_path: Path) -> None:
    filled(tmp_path / "s", (3, 1, 4))
    file = tmp_path / "s" / "images.front.u8"
    content = bytearray(file.read_bytes())
    content[3 * 48 + 5] ^= 1
    file.write_bytes(content)
    store = Store.open(tmp_path / "s")
    store.episode(0)
    with pytest.raises(DataError, match=r"s: episode 1 \(train/1\) is damaged"):
        store.episode(1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"offset": 3', b'"offset": 4', "episode 1 has 1 frames from 4 on, but the ones before end at 3"),
        (b'{"frames": 1', b'{"frames: 1', "line 2 is not an episode"),
        (b'"task"', b'"tusk"', "line 1 is not an episode"),
    ],
)
def test_a_broken_log_names_the_line(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    filled(tmp_path / "s", (3, 1, 4))
    log = tmp_path / "s" / "episodes.jsonl"
    log.write_bytes(log.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        Store.open(tmp_path / "s")


def test_missing_foreign_and_newer_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no store here"):
        Store.open(tmp_path / "s")
    filled(tmp_path / "s", (3,))
    with pytest.raises(DataError, match="holds a store already"):
        Store.create(tmp_path / "s", SPEC)
    with pytest.raises(SpecError, match=r"cameras\.front\.height\s+store .*s +4\s+world +6"):
        Store.open_or_create(tmp_path / "s", ToyConfig(size=6).spec, ("goal",))
    with pytest.raises(DataError, match=r"holds targets \['goal'\], wanted are \['aim'\]"):
        Store.open_or_create(tmp_path / "s", SPEC, ("aim",))
    assert Store.open_or_create(tmp_path / "s", SPEC, ("goal",)).num_episodes == 1
    (tmp_path / "s" / "store.json").write_text('{"schema_version": 99, "targets": {}}')
    with pytest.raises(DataError, match="schema version 99, this sinew reads 1 and 2"):
        Store.open(tmp_path / "s")


def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", (3,))
    before = contents(tmp_path / "s")
    bad = random_episode(2, action=np.full((3, 2), np.nan, np.float32))
    with pytest.raises(DataError, match="episode train/2, frame 0"):
        store.append([random_episode(1), bad])
    with pytest.raises(DataError, match=r"targets of sizes {'goal': 2}, wanted are {'goal': 1}"):
        store.append([random_episode(1, targets={"goal": np.zeros((3, 2), np.float32)})])
    with pytest.raises(DataError, match=r"targets of sizes {}"):
        store.append([random_episode(1, targets={})])
    with pytest.raises(SpecError, match="embodiment"):
        store.append([random_episode(1, spec=replace(SPEC, embodiment="other"))])
    store.unlock()
    assert contents(tmp_path / "s") == before


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    filled(tmp_path / "s", (3,))
    before = contents(tmp_path / "s")
    # A file size limit stands in for the full disk: images of 40 frames need 1920 bytes.
    process = run_script(
        """
        import resource
        from pathlib import Path
        from toy_data import random_episode
        from sinew.core.errors import SinewError
        from sinew.data.store import Store
        store = Store.open(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        try:
            store.append([random_episode(1, 40)])
        except SinewError as error:
            print(error)
        assert store.num_episodes == 1
        store.append([random_episode(1, 2)])
        store.truncate(1)
        """,
        str(tmp_path / "s"),
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "could not be extended (File too large). The store still holds its 1 episodes" in out
    assert contents(tmp_path / "s") == before


def test_appending_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    spec = replace(SPEC, cameras={})
    store = Store.create(tmp_path / "s", spec, ("goal",))
    # Zero strides: petabytes that take no memory. They are refused before anything reads them.
    huge = np.broadcast_to(np.zeros((1, 1), np.float32), (3, 2**50))
    with pytest.raises(SinewError, match=r"recording 1 episodes needs \d+ MB and \d+ MB are free"):
        store.append([random_episode(0, spec=spec, images={}, targets={"goal": huge})])
    store.append([random_episode(0, spec=spec, images={})])
    assert Store.open(tmp_path / "s").num_episodes == 1


def test_two_processes_never_write_one_store_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", (3,))
    holder = run_script(
        """
        import time
        from pathlib import Path
        from sinew.data.store import Store
        store = Store.open(Path(sys.argv[1]))
        store.lock()
        print("locked", flush=True)
        time.sleep(60)
        """,
        str(tmp_path / "s"),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(DataError, match=f"process {holder.pid} is writing here"):
        store.append([random_episode(1)])
    assert_holds(Store.open(tmp_path / "s"), (0,), (3,))
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    store.append([random_episode(1)])
    store.unlock()
    assert not (tmp_path / "s" / "writer.lock").exists()
    assert_holds(Store.open(tmp_path / "s"), (0, 1), (3, 3))


def _read_in_child(store: Store, results: multiprocessing.Queue[list[float]]) -> None:
    results.put([float(store.episode(number).state[0, 0]) for number in range(store.num_episodes)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_that_was_read_can_be_read_in_children(tmp_path: Path, method: str) -> None:
    store = filled(tmp_path / "s", (3, 1, 4))
    store.episode(0)
    store.lock()
    context = multiprocessing.get_context(method)
    results: multiprocessing.Queue[list[float]] = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of threaded processes
        children = [context.Process(target=_read_in_child, args=(store, results)) for _ in range(2)]  # type: ignore[attr-defined]
        for child in children:
            child.start()
    assert [results.get(timeout=60) for _ in children] == [[0, 1000, 2000]] * 2
    for child in children:
        child.join()
    assert (tmp_path / "s" / "writer.lock").exists()
    store.append([random_episode(3)])
    assert pickle.loads(pickle.dumps(store)).num_episodes == 4

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.data.collect import Job, collect, demonstrate_group, shares
from sinew.data.config import CollectConfig
from sinew.data.store import Store
from toy import ToyConfig

ENV = ToyConfig(size=4, stuck=6)
CONFIG = CollectConfig(episodes=60, mix={"left": 2, "right": 1}, group=7, held_out=0.1)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store; copy it before changing anything."""
    path = tmp_path_factory.mktemp("whole") / "s"
    collect(path, ENV, CONFIG, seed=0)
    return path


def killed(path: Path) -> None:
    """A worker that dies at once."""
    signal.raise_signal(signal.SIGKILL)


def test_as_many_successes_as_asked_for_are_kept_in_their_shares(whole: Path) -> None:
    store = Store.open(whole)
    assert Counter(record.task for record in store.records) == {"left": 40, "right": 20}
    assert all(record.success for record in store.records)
    assert len({record.id for record in store.records}) == 60
    assert not (whole / "writer.lock").exists()


def test_failures_are_replaced_by_the_next_initial_states(whole: Path) -> None:
    store = Store.open(whole)
    for task, quota in (("left", 40), ("right", 20)):
        numbers = sorted(int(record.id.split("/")[-1]) for record in store.records if record.task == task)
        assert numbers == [number for number in range(2 * quota) if number % ENV.stuck][:quota]


def test_held_out_episodes_are_a_share_of_every_task(whole: Path, tmp_path: Path) -> None:
    store = Store.open(whole)
    assert Counter(record.task for record in store.records if record.held_out) == {"left": 4, "right": 2}
    other = collect(tmp_path / "t", ENV, CONFIG, seed=1)
    assert [record.held_out for record in other.records] != [record.held_out for record in store.records]
    none = collect(tmp_path / "u", ENV, replace(CONFIG, held_out=0.0), seed=0)
    assert not any(record.held_out for record in none.records)


def test_groups_change_the_order_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    def lines(store: Store) -> set[str]:
        rows = [(record.id, record.frames, record.crc, record.held_out) for record in store.records]
        return {json.dumps(row) for row in rows}

    other = collect(tmp_path / "t", ENV, replace(CONFIG, group=60), seed=0)
    assert lines(other) == lines(Store.open(whole))


def test_a_pool_changes_no_byte(whole: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        collect(tmp_path / "there", ENV, CONFIG, seed=0, pool=pool)
    assert contents(tmp_path / "there") == contents(whole)


@pytest.mark.parametrize("kept", [0, 1, 6, 7, 30, 54, 59, 60])
def test_a_store_cut_anywhere_is_completed_to_the_same_bytes(whole: Path, tmp_path: Path, kept: int) -> None:
    shutil.copytree(whole, tmp_path / "s")
    store = Store.open(tmp_path / "s")
    store.truncate(kept)
    store.unlock()
    seen: list[tuple[int, int]] = []
    collect(tmp_path / "s", ENV, CONFIG, seed=0, on_progress=lambda done, wanted: seen.append((done, wanted)))
    assert contents(tmp_path / "s") == contents(whole)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((kept, 60), (60, 60))


COLLECT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from toy import ToyConfig
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
print("begin", flush=True)
collect(Path(sys.argv[1]), ToyConfig(size=16, stuck=6), CollectConfig(episodes=120, group=4), seed=3)
"""


def test_kill_at_random_moments_and_again_gives_the_same_bytes(tmp_path: Path) -> None:
    config = CollectConfig(episodes=120, group=4)
    collect(tmp_path / "whole", ToyConfig(size=16, stuck=6), config, seed=3)
    moments = random.Random(0)
    command = [sys.executable, "-c", COLLECT.format(path=sys.path), str(tmp_path / "torn")]
    sizes: list[int] = []
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        log = tmp_path / "torn" / "episodes.jsonl"
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= before + 2000):
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.03))
        process.kill()
        process.communicate()
        sizes.append(Store.open(tmp_path / "torn").num_episodes)
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < 120
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("env", "config", "seed", "message"),
    [
        (ENV, CONFIG, 1, r"seed: 0 there, 1 wanted"),
        (ENV, replace(CONFIG, noise=(0.1,)), 0, r"collect\.noise: \[0\.0, 0\.2, 0\.35\] there, \[0\.1\] wanted"),
        (replace(ENV, max_ticks=5), CONFIG, 0, r"env\.max_ticks: 12 there, 5 wanted"),
    ],
)
def test_a_store_of_other_settings_is_not_continued(
    whole: Path, env: ToyConfig, config: CollectConfig, seed: int, message: str
) -> None:
    before = contents(whole)
    with pytest.raises(ConfigError, match=f"other settings[^$]*{message}"):
        collect(whole, env, config, seed=seed)
    assert contents(whole) == before


def test_an_expert_that_always_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the expert succeeded in 0 of 40 episodes of task left"):
        collect(tmp_path / "s", replace(ENV, stuck=1), CONFIG, seed=0)


class Dying(ProcessPoolExecutor):
    """A real pool whose workers kill themselves instead of working."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:  # noqa: ANN401
        return super().submit(killed, Path())


def test_a_dead_worker_is_one_clear_error_and_keeps_the_store(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "s")
    store = Store.open(tmp_path / "s")
    store.truncate(20)
    store.unlock()
    pool: Executor = Dying(1, mp_context=multiprocessing.get_context("spawn"))
    with pool, pytest.raises(SinewError, match="a worker process died"):
        collect(tmp_path / "s", ENV, CONFIG, seed=0, pool=pool)
    collect(tmp_path / "s", ENV, CONFIG, seed=0)
    assert contents(tmp_path / "s") == contents(whole)


@pytest.mark.parametrize(
    ("total", "mix", "wanted"),
    [
        (10, None, {"a": 4, "b": 3, "c": 3}),
        (10, {"a": 1, "c": 3}, {"a": 3, "b": 0, "c": 7}),
        (7, {"a": 0.2, "b": 0.2, "c": 0.6}, {"a": 2, "b": 1, "c": 4}),
        (0, None, {"a": 0, "b": 0, "c": 0}),
    ],
)
def test_shares_add_up(total: int, mix: dict[str, float] | None, wanted: dict[str, int]) -> None:
    assert shares(("a", "b", "c"), mix, total) == wanted


@pytest.mark.parametrize("mix", [{"d": 1.0}, {"a": -1.0, "b": 2.0}, {"a": 0.0}])
def test_a_wrong_mix_is_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="names must be among a, b, c"):
        shares(("a", "b", "c"), mix, 10)


@pytest.mark.parametrize("change", [{"episodes": 0}, {"group": 0}, {"noise": ()}, {"held_out": 1.0}])
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="collect: "):
        collect(tmp_path / "s", ENV, replace(CONFIG, **change), seed=0)
    assert not (tmp_path / "s").exists()


def test_a_group_returns_its_successes_in_order() -> None:
    ids = tuple(f"train/left/{number}" for number in range(9))
    episodes = demonstrate_group(Job(ENV, "left", ids, CONFIG, seed=0))
    assert [episode.id for episode in episodes] == [name for name in ids if int(name.split("/")[-1]) % 6]

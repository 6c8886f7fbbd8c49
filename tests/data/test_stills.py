from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from sinew.data import stills
from sinew.data.stills import collect_stills
from sinew.data.store import Store
from sinew.data.windows import Windows
from toy import ToyConfig

ENV = ToyConfig(size=4)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "GROUP", 20)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_each_state_gives_one_frame_and_tasks_take_turns(tmp_path: Path) -> None:
    store = collect_stills(tmp_path / "s", ENV, 51)
    assert store.num_frames == store.num_episodes == 51
    assert len({record.id for record in store.records}) == 51
    assert Counter(record.task for record in store.records) == {"left": 26, "right": 25}


def test_a_still_shows_the_world_and_what_its_expert_would_do(tmp_path: Path) -> None:
    store = collect_stills(tmp_path / "s", ENV, 50)
    world, expert = ENV.build(50), ENV.expert()
    obs = world.reset([record.id for record in store.records])
    np.testing.assert_array_equal(store.column("action"), expert.select_action(obs))
    np.testing.assert_array_equal(store.column("state"), obs.state[:, -1])
    assert tuple(record.instruction for record in store.records) == obs.instruction


def test_only_the_first_step_of_a_chunk_is_known(tmp_path: Path) -> None:
    windows = Windows([collect_stills(tmp_path / "s", ENV, 8)], history=1, horizon=3)
    np.testing.assert_array_equal(windows.gather(np.arange(8)).is_pad, [[False, True, True]] * 8)


def test_going_on_from_anywhere_gives_the_same_bytes(tmp_path: Path) -> None:
    collect_stills(tmp_path / "whole", ENV, 50)
    half = collect_stills(tmp_path / "half", ENV, 50)
    half.truncate(27)
    half.unlock()
    seen: list[tuple[int, int]] = []
    collect_stills(tmp_path / "half", ENV, 50, on_progress=lambda done, wanted: seen.append((done, wanted)))
    assert contents(tmp_path / "half") == contents(tmp_path / "whole")
    assert seen == [(47, 50), (50, 50)]


def test_workers_change_no_byte(tmp_path: Path) -> None:
    collect_stills(tmp_path / "here", ENV, 90)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        collect_stills(tmp_path / "there", ENV, 90, pool=pool)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert Store.open(tmp_path / "there").num_frames == 90

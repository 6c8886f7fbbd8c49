"""What the robot loop did becomes episodes without holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.fake_robot import SPEC
from sinew.core.errors import DataError, SpecError
from sinew.core.types import Observation
from sinew.data.store import Store
from sinew.deploy.loop_report import LoopTick
from sinew.deploy.recording import EpisodeRecorder
from toy import ToyConfig


def tick(number: int, *, fault: str = "", success: bool = False) -> LoopTick:
    """Return a tick whose content follows from its number; the policy wants more than the bounds allow."""
    obs = Observation(
        images={"front": np.full((1, 1, 3, 4, 6), number, np.uint8)},
        state=np.array([[[number, 0.0]]], np.float32),
        instruction=("go",),
    )
    wanted = np.array([9.0, 0.7], np.float32)
    sent = np.array([0.01 * number, 0.0], np.float32)
    return LoopTick(number, 0.1 * number, obs, wanted, sent, "velocity", fault, success)


def record(path: Path, ticks: list[LoopTick], **changes: int) -> Store:
    """Record ticks and return the store."""
    recorder = EpisodeRecorder(path, SPEC, **changes)
    for one in ticks:
        recorder(one)
    recorder.close()
    return Store.open(path)


def test_a_fault_ends_an_episode_and_the_next_good_tick_begins_another(tmp_path: Path) -> None:
    store = record(tmp_path, [tick(k, fault="no answer" if k in (3, 4) else "") for k in range(9)])
    assert [store.episode(k).num_frames for k in range(store.num_episodes)] == [3, 4]
    assert store.episode(1).state[:, 0].tolist() == [5, 6, 7, 8]
    assert store.episode(1).images["front"][0].max() == 5
    assert store.episode(1).id == "robot/1"


def test_labels_are_within_bounds_and_what_was_sent_is_kept(tmp_path: Path) -> None:
    episode = record(tmp_path, [tick(k) for k in range(3)]).episode(0)
    np.testing.assert_allclose(episode.action, [[0.05, 1.0]] * 3, rtol=1e-6)
    np.testing.assert_allclose(episode.executed[:, 0], [0.0, 0.01, 0.02], rtol=1e-6)
    assert (episode.instruction, episode.success) == ("go", False)


def test_success_and_length_end_an_episode_and_scraps_are_left_out(tmp_path: Path) -> None:
    ticks = [*(tick(k) for k in range(5)), tick(5, success=True), tick(6)]
    store = record(tmp_path, ticks, longest=4)
    assert [(record.frames, record.success) for record in store.records] == [(4, False), (2, True)]


def test_recording_goes_on_in_a_store_that_is_there(tmp_path: Path) -> None:
    record(tmp_path, [tick(k) for k in range(3)])
    store = record(tmp_path, [tick(k) for k in range(2)])
    assert [record.id for record in store.records] == ["robot/0", "robot/1"]


def test_a_store_of_another_robot_is_refused(tmp_path: Path) -> None:
    Store.create(tmp_path / "other", ToyConfig().spec)
    with pytest.raises(SpecError, match="not the same robot"):
        EpisodeRecorder(tmp_path / "other", SPEC)


def test_an_episode_that_cannot_be_written_is_said_at_a_later_tick(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, SPEC)
    broken = tick(1)
    assert broken.obs is not None
    broken.obs.state[:] = np.nan
    for one in (tick(0), broken, tick(2, fault="no answer")):
        recorder(one)
    recorder._writer.shutdown(wait=True)
    with pytest.raises(DataError, match=r"state\.x is nan"):
        recorder(tick(3))
    recorder.close()

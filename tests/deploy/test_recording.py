"""What the robot loop did becomes episodes without holes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from envs.fake_robot import SPEC
from sinew.core.errors import DataError, SinewError
from sinew.core.types import Observation
from sinew.data.episode import Episode
from sinew.data.formats.ingest import read_episode, robot_of
from sinew.data.formats.recording import Recording
from sinew.data.store import Store
from sinew.deploy.loop_report import LoopTick
from sinew.deploy.recording import LONGEST_QUEUE, LoopRecorder
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


def record(path: Path, ticks: list[LoopTick], **changes: int) -> list[Episode]:
    """Record ticks and return the episodes."""
    recorder = LoopRecorder(path, SPEC, **changes)
    for one in ticks:
        recorder(one)
    recorder.close()
    source = Recording(path)
    return [read_episode(source, number, robot_of(source)) for number in range(len(source.lengths))]


def test_a_fault_ends_an_episode_and_the_next_good_tick_begins_another(tmp_path: Path) -> None:
    found = record(tmp_path, [tick(k, fault="no answer" if k in (3, 4) else "") for k in range(9)])
    assert [one.num_frames for one in found] == [3, 4]
    assert found[1].state[:, 0].tolist() == [5, 6, 7, 8]
    assert found[1].images["front"][0].max() == 5
    assert found[1].id == "robot/1"


def test_labels_are_within_bounds_and_what_was_sent_is_kept(tmp_path: Path) -> None:
    episode = record(tmp_path, [tick(k) for k in range(3)])[0]
    np.testing.assert_allclose(episode.action, [[0.05, 1.0]] * 3, rtol=1e-6)
    np.testing.assert_allclose(episode.executed[:, 0], [0.0, 0.01, 0.02], rtol=1e-6)
    assert (episode.instruction, episode.success) == ("go", False)


def test_success_and_length_end_an_episode_and_scraps_are_left_out(tmp_path: Path) -> None:
    ticks = [*(tick(k) for k in range(5)), tick(5, success=True), tick(6)]
    found = record(tmp_path, ticks, longest=4)
    assert [(one.num_frames, one.success) for one in found] == [(4, False), (2, True)]


def test_recording_goes_on_where_it_was(tmp_path: Path) -> None:
    record(tmp_path, [tick(k) for k in range(3)])
    assert [one.id for one in record(tmp_path, [tick(k) for k in range(2)])] == ["robot/0", "robot/1"]


def test_a_place_with_something_else_is_refused(tmp_path: Path) -> None:
    Store.create(tmp_path / "other", ToyConfig().spec)
    with pytest.raises(DataError, match="a data set of another kind"):
        LoopRecorder(tmp_path / "other", SPEC)


def test_a_tick_that_cannot_be_written_is_said_at_a_later_one_and_ends_the_recording(tmp_path: Path) -> None:
    recorder = LoopRecorder(tmp_path, SPEC)
    broken = tick(1)
    assert broken.obs is not None
    broken.obs.state[:] = np.nan
    for one in (tick(0), broken):
        recorder(one)
    recorder._writer.submit(lambda: None).result()
    with pytest.raises(DataError, match=r"frame 1 of episode 0: state is \[nan"):
        recorder(tick(3))
    with pytest.raises(DataError, match="frame 1 of episode 0"):
        recorder.close()
    assert Recording(tmp_path).lengths == (1,)


def test_a_disk_that_is_too_slow_ends_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    recorder = LoopRecorder(tmp_path, SPEC)
    slow = recorder.recorder.add
    monkeypatch.setattr(recorder.recorder, "add", lambda frame: (gate.wait(10), slow(frame)))
    for number in range(LONGEST_QUEUE):
        recorder(tick(number))
    recorder(tick(LONGEST_QUEUE))
    with pytest.raises(SinewError, match="slower than the robot"):
        recorder(tick(LONGEST_QUEUE + 1))
    gate.set()
    recorder.close()
    assert Recording(tmp_path).lengths == (LONGEST_QUEUE + 1,)

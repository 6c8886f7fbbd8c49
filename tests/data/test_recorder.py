"""What is recorded is kept: frame by frame, through kills, torn tails, full disks and bad drivers."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sinew
from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import DataError, SinewError, SpecError
from sinew.core.types import SensorSpec
from sinew.data.episode import Episode
from sinew.data.formats.ingest import read_episode, robot_of
from sinew.data.formats.recording import Recording
from sinew.data.recorder import EpisodeRecorder, Frame, within

RICH = dataclasses.replace(
    SPEC,
    sensors={"depth": SensorSpec((3, 4), "mm", 10, "uint16"), "force": SensorSpec((2,), "N", 10)},
)


def frame(tick: int, **changes: Any) -> Frame:  # noqa: ANN401
    """Return a frame whose content follows from its number."""
    content: dict[str, Any] = {
        "images": {
            "front": np.full((3, 16, 20), tick % 256, np.uint8),
            "wrist": np.full((3, 12, 12), 255 - tick % 256, np.uint8),
        },
        "state": np.array([tick, 0.5], np.float32),
        "action": np.array([0.1, tick % 2], np.float32),
    }
    return Frame(**{**content, **changes})


def record(path: Path, lengths: tuple[int, ...], *, task: str = "lift") -> None:
    """Record episodes of these lengths; frames count on through all of them."""
    with EpisodeRecorder(path, SPEC) as recorder:
        for length in lengths:
            recorder.begin(instruction="lift it", task=task)
            for tick in range(length):
                recorder.add(frame(tick))
            recorder.end(success=True)


def episodes(path: Path) -> list[Episode]:
    """Read everything there and check it."""
    source = Recording(path)
    return [read_episode(source, number, robot_of(source)) for number in range(len(source.lengths))]


def test_all_that_was_given_comes_back(tmp_path: Path) -> None:
    depths = np.arange(48, dtype=np.uint16).reshape(4, 3, 4) * 1000
    with EpisodeRecorder(tmp_path, RICH, source="lab") as recorder:
        recorder.begin(instruction="hebe es", task="lift", id="scene/7")
        for tick in range(4):
            recorder.add(
                frame(
                    tick,
                    executed=np.array([0.05, 1.0], np.float32),
                    sensors={"depth": depths[tick], "force": np.array([np.nan, tick], np.float32)},
                    targets={"place": np.array([tick, 2, 3], np.float32)},
                    reward=tick / 2,
                )
            )
        assert recorder.frames == 4
        path = recorder.end(success=True, terminated=True, final_state=np.array([9.0, 0.1], np.float32))
    assert path == tmp_path / "episode_000000.rec"
    (back,) = episodes(tmp_path)
    assert (back.instruction, back.task, back.source, back.id) == ("hebe es", "lift", "lab", "scene/7")
    assert (back.success, back.terminated, back.spec) == (True, True, RICH)
    assert back.final_state is not None
    assert back.reward is not None
    np.testing.assert_array_equal(back.final_state, np.array([9.0, 0.1], np.float32))
    np.testing.assert_array_equal(back.reward, [0, 0.5, 1, 1.5])
    np.testing.assert_array_equal(back.sensors["depth"], depths)
    np.testing.assert_array_equal(back.sensors["force"][:, 1], range(4))
    np.testing.assert_array_equal(back.targets["place"][:, 0], range(4))
    np.testing.assert_array_equal(back.images["front"][:, 0, 0, 0], range(4))
    np.testing.assert_array_equal(back.executed[:, 0], np.full(4, 0.05, np.float32))
    times = Recording(tmp_path).times(0)
    assert times[0] == 0.0
    assert (np.diff(times) > 0).all()


def test_labels_are_brought_within_their_bounds_and_what_was_sent_is_not() -> None:
    wild = np.array([9.0, 0.7], np.float32)
    assert within(SPEC, wild).tolist() == [1.0, 1.0]
    assert np.isnan(within(SPEC, np.full(2, np.nan, np.float32))).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": np.array([np.nan, 0], np.float32)}, "state is .nan"),
        ({"action": np.full(2, np.inf, np.float32), "executed": np.zeros(2)}, "action|executed"),
        ({"state": np.zeros(3, np.float32)}, r"state has shape \(3,\), \(2,\)"),
        ({"images": {"front": np.zeros((3, 16, 20), np.uint8)}}, "images.wrist"),
        ({"images": {"front": np.zeros((3, 16, 20)), "wrist": np.zeros((3, 12, 12))}}, "float64, uint8"),
        ({"targets": {"place": np.zeros(2, np.float32)}}, "targets.place"),
        ({"reward": 1.0}, "reward"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_the_others_stay(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    if "action" in changes:
        changes = {**changes, "action": np.full(2, np.nan, np.float32)}
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        recorder.begin(instruction="go")
        recorder.add(frame(0))
        with pytest.raises(DataError, match=words) as found:
            recorder.add(frame(1, **changes))
        assert "frame 1 of episode 0" in str(found.value)
        recorder.add(frame(1))
        recorder.end(success=True)
    assert episodes(tmp_path)[0].state[:, 0].tolist() == [0, 1]


def test_a_first_frame_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        recorder.begin(instruction="go")
        with pytest.raises(DataError, match="state has shape"):
            recorder.add(frame(0, state=np.zeros(5)))
        assert recorder.end(success=True) is None
    assert list(tmp_path.iterdir()) == []


def test_columns_stay_the_same_within_a_directory(tmp_path: Path) -> None:
    record(tmp_path, (2,))
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        recorder.begin(instruction="go")
        with pytest.raises(DataError, match=r"other columns than the episodes before \(reward\)"):
            recorder.add(frame(0, reward=0.0))
        recorder.discard()


def test_discarded_episodes_leave_nothing_and_numbers_go_on(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        for name in ("one", "two", "three"):
            recorder.begin(instruction=name, id=name)
            recorder.add(frame(0))
            if name == "two":
                recorder.discard()
                assert not recorder.recording
            else:
                recorder.end(success=True)
        assert recorder.discard_last() == "three"
        assert (recorder.num_episodes, recorder.ids, recorder.tasks["three"]) == (1, ["one"], 0)
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        assert recorder.discard_last() == "one"  # of an earlier recorder
        assert recorder.discard_last() is None
    assert list(tmp_path.iterdir()) == []


def test_recording_goes_on_where_it_was_and_counts_by_task(tmp_path: Path) -> None:
    record(tmp_path, (2, 3))
    record(tmp_path, (4,), task="push")
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        assert dict(recorder.tasks) == {"lift": 2, "push": 1}
        assert recorder.ids == ["recorded/0", "recorded/1", "recorded/2"]
    assert [one.num_frames for one in episodes(tmp_path)] == [2, 3, 4]


def test_begin_and_add_out_of_turn_are_refused(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        with pytest.raises(DataError, match="no episode has begun"):
            recorder.add(frame(0))
        recorder.begin(instruction="go")
        with pytest.raises(DataError, match="End or discard it first"):
            recorder.begin(instruction="go")


def test_another_robot_is_refused_with_both_sides(tmp_path: Path) -> None:
    record(tmp_path, (2,))
    other = dataclasses.replace(SPEC, hz=50.0, embodiment="leg")
    with pytest.raises(SpecError, match=r"(?s)embodiment: arm there, leg here.*hz: 12.5 there, 50.0 here"):
        EpisodeRecorder(tmp_path, other)
    record(tmp_path, (2,))  # the refusal has let go of the lock


def test_what_is_left_open_is_kept_without_a_verdict(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        recorder.begin(instruction="go")
        recorder.add(frame(0))
    assert [one.success for one in episodes(tmp_path)] == [False]


def in_child(job: Any) -> int:  # noqa: ANN401
    """Run a job in a fork and return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            job()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("tail", [b"", b"snwF", os.urandom(700), bytes(40)])
def test_a_killed_recorder_loses_no_finished_frame(tmp_path: Path, tail: bytes) -> None:
    def job() -> None:
        recorder = EpisodeRecorder(tmp_path, SPEC)
        for length in (3, 2):
            recorder.begin(instruction="lift it", task="lift")
            for tick in range(length):
                recorder.add(frame(tick))
            if length == 3:
                recorder.end(success=True)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(job) == signal.SIGKILL
    with (tmp_path / "episode_000001.open").open("ab") as file:
        file.write(tail)
    assert [one.num_frames for one in episodes(tmp_path)] == [3]
    assert "episode_000001.open (unfinished)" in Recording(tmp_path).unread
    with EpisodeRecorder(tmp_path, SPEC) as recorder:
        assert [(found.frames, recorder.num_episodes) for found in recorder.recovered] == [(2, 2)]
    assert [(one.num_frames, one.success) for one in episodes(tmp_path)] == [(3, True), (2, False)]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    def job() -> None:
        try:
            EpisodeRecorder(tmp_path, SPEC)
        except DataError as error:
            os._exit(0 if "is writing here" in str(error) else 2)

    with EpisodeRecorder(tmp_path, SPEC):
        assert in_child(job) == 0


def test_a_full_disk_is_one_message_and_loses_nothing(tmp_path: Path) -> None:
    def job() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        recorder = EpisodeRecorder(tmp_path, SPEC)
        recorder.begin(instruction="go")
        recorder.add(frame(0))
        size = (tmp_path / "episode_000000.open").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4000, size + 4000))  # two frames more and a piece
        try:
            for tick in range(1, 9):
                recorder.add(frame(tick))
        except SinewError as error:
            (tmp_path / "said").write_bytes(str(error).encode())
        recorder.end(success=True)
        recorder.close()
        os._exit(0)

    assert in_child(job) == 0
    assert "the disk takes no more" in (tmp_path / "said").read_text()
    assert "The 3 frames before are whole" in (tmp_path / "said").read_text()
    assert [(one.num_frames, one.success) for one in episodes(tmp_path)] == [(3, True)]


def test_a_nearly_full_disk_is_said_before_an_episode_begins(tmp_path: Path) -> None:
    huge = dataclasses.replace(SPEC, hz=1e9)
    with (
        EpisodeRecorder(tmp_path, huge) as recorder,
        pytest.raises(SinewError, match="another 10 s of recording needs"),
    ):
        recorder.begin(instruction="go")


def test_a_robot_needs_numpy_only(tmp_path: Path) -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "pydantic", "PIL", "h5py", "pyarrow", "av", "tyro", "rich"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from pathlib import Path
import numpy as np
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.recorder import EpisodeRecorder, Frame
spec = RobotSpec("arm", {"front": CameraSpec(8, 8)}, ("x",), ("m",), ("dx",), ("m",), (-1.0,), (1.0,), 10.0, "delta")
with EpisodeRecorder(Path(sys.argv[1]), spec) as recorder:
    recorder.begin(instruction="go")
    recorder.add(Frame({"front": np.zeros((3, 8, 8), np.uint8)}, np.zeros(1), np.zeros(1)))
    recorder.end(success=True)
"""
    place = str(Path(sinew.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": place})
    assert len(episodes(tmp_path)) == 1


def test_episodes_of_other_sets_can_be_written_and_read(tmp_path: Path) -> None:
    Recording.write(tmp_path / "set", [smooth_episode(0), smooth_episode(1)])
    assert [one.id for one in episodes(tmp_path / "set")] == ["train/0", "train/1"]

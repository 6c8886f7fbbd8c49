"""Whatever is left of an episode's log, its whole frames are saved and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.test_recorder import episodes, record
from sinew.core.errors import DataError
from sinew.data.recording import HEADER, read_ends, read_log
from sinew.data.recovery import recover

FRAMES = 5


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int, int]:
    """Return a finished episode's file, where its frames begin, and the bytes of each."""
    path = tmp_path_factory.mktemp("log")
    record(path, (FRAMES,))
    file = path / "episode_000000.rec"
    beginning, _, start = read_ends(file)
    return file.read_bytes(), start, beginning.frame.itemsize


def save(path: Path, content: bytes) -> int:
    """Leave this behind, recover, and return how many frames are there then."""
    path.mkdir()
    (path / "episode_000000.open").write_bytes(content)
    (found,) = recover(path)
    names = (["episode_000000.rec"] if found.frames else []) + ([found.rest.name] if found.rest else [])
    assert sorted(item.name for item in path.iterdir()) == sorted(names)
    if found.frames:
        (episode,) = episodes(path)
        assert episode.num_frames == found.frames
        assert episode.state[:, 0].tolist() == list(range(found.frames))
    return found.frames


def test_a_log_cut_anywhere_keeps_its_whole_frames(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    content, start, size = log
    edges = [start + size * k + step for k in range(FRAMES + 1) for step in (-1, 0, 1, HEADER.size)]
    cuts = sorted({0, 3, 20, *edges, *np.random.default_rng(0).integers(0, len(content), 20).tolist()})
    for cut in (cut for cut in cuts if cut < len(content)):
        whole = min(max(cut - start, 0) // size, FRAMES)
        assert save(tmp_path / str(cut), content[:cut]) == whole, cut


def test_a_changed_byte_ends_the_whole_frames_there(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    content, start, size = log
    for place in np.random.default_rng(1).integers(start, start + FRAMES * size, 20).tolist():
        changed = bytearray(content)
        changed[place] ^= 0x40
        assert save(tmp_path / str(place), bytes(changed)) == (place - start) // size


def test_what_lies_behind_a_damaged_frame_is_kept_aside(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    content, start, size = log
    changed = bytearray(content)
    changed[start + size + 50] ^= 1
    assert save(tmp_path / "frame", bytes(changed)) == 1
    assert (tmp_path / "frame" / "episode_000000.0.rest").read_bytes() == changed[start + size :]
    changed = bytearray(content)
    changed[20] ^= 1
    assert save(tmp_path / "beginning", bytes(changed)) == 0
    assert (tmp_path / "beginning" / "episode_000000.0.rest").read_bytes() == changed
    assert save(tmp_path / "torn", content[: start - 1]) == 0
    assert list((tmp_path / "torn").iterdir()) == []


def test_frames_of_another_episode_behind_the_last_are_no_frames(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    content, start, size = log
    old = content[start : start + size]  # number 0 again, as a disk may show it after a loss of power
    assert save(tmp_path / "old", content[: start + 2 * size] + old) == 2


def test_an_ending_that_was_whole_already_is_kept(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    assert save(tmp_path / "whole", log[0] + b"torn") == FRAMES
    assert episodes(tmp_path / "whole")[0].success
    path = tmp_path / "whole" / "episode_000000.rec"
    assert read_log(path).ending == read_ends(path)[1]
    assert path.read_bytes() == log[0]


def test_recovering_twice_changes_nothing(log: tuple[bytes, int, int], tmp_path: Path) -> None:
    assert save(tmp_path / "set", log[0][:-20]) == FRAMES
    before = (tmp_path / "set" / "episode_000000.rec").read_bytes()
    assert recover(tmp_path / "set") == ()
    assert (tmp_path / "set" / "episode_000000.rec").read_bytes() == before


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such directory"):
        recover(tmp_path / "none")

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from data.formats.recordings import SPEC, smooth_episode
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import NumpyBatch
from sinew.data.config import IngestConfig
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import held_out, open_source
from sinew.data.store import Store
from sinew.data.stream import Room, Stream
from sinew.data.windows import Windows

LENGTHS = (5, 9, 4, 7, 12, 6, 8, 3, 10, 5)
EPISODES = [smooth_episode(number % 5, frames, id=str(number)) for number, frames in enumerate(LENGTHS)]
FRAME = 3 * (16 * 20 + 12 * 12) + 4 * (2 + 2 + 2 + 1)
BUDGET = 4 * 15 * FRAME


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "demos.hdf5"
    Hdf5.write(path, EPISODES)
    return path


def stream_of(demos: Path, into: Path, *, budget: int = BUDGET, batch: int = 6) -> Stream:
    config = IngestConfig(held_out=0.2)
    return Stream(open_source(demos), SPEC, config, room=Room(into, budget), cut=cut, batch=batch, seed=5)


def cut(store: Store) -> Windows:
    return Windows([store], history=2, horizon=3)


def first(batches: Iterator[NumpyBatch], count: int) -> list[NumpyBatch]:
    found = list(islice(batches, count))
    batches.close()  # type: ignore[attr-defined]
    return found


def on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("images*")) + sum(
        file.stat().st_size for file in path.rglob("*.f32")
    )


def test_every_training_frame_comes_once_an_epoch_and_is_the_frame_it_says(demos: Path, tmp_path: Path) -> None:
    stream = stream_of(demos, tmp_path)
    kept = held_out(stream.source.tasks, 0.2)
    begins = np.concatenate([[0], np.cumsum(LENGTHS)])
    wanted = [frame for n in range(10) if n not in kept for frame in range(begins[n], begins[n + 1])]
    assert stream.num_frames == len(wanted)
    batches = first(stream.batches(), -(-2 * len(wanted) // 6))
    ids = np.concatenate([batch.ids for batch in batches if batch.ids is not None])
    for epoch in range(2):
        assert sorted(ids[epoch * len(wanted) : (epoch + 1) * len(wanted)].tolist()) == wanted
    assert ids[: len(wanted)].tolist() != ids[len(wanted) : 2 * len(wanted)].tolist()
    states = np.concatenate([episode.state for episode in EPISODES])
    images = np.concatenate([episode.images["front"] for episode in EPISODES])
    for batch in batches:
        np.testing.assert_array_equal(batch.obs.state[:, -1], states[batch.ids])
        np.testing.assert_array_equal(batch.obs.images["front"][:, -1], images[batch.ids])


@pytest.mark.parametrize("start", [1, 7, 13, 24])
def test_it_goes_on_anywhere_as_if_it_had_never_stopped(demos: Path, tmp_path: Path, start: int) -> None:
    whole = first(stream_of(demos, tmp_path / "a").batches(), 28)
    for one, two in zip(first(stream_of(demos, tmp_path / "a").batches(start), 4), whole[start:], strict=False):
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.actions, two.actions)
        assert one.obs.instruction == two.obs.instruction


def test_the_disk_never_holds_more_than_the_budget(demos: Path, tmp_path: Path) -> None:
    stream = stream_of(demos, tmp_path)
    parts = [part for epoch in range(4) for part in stream.parts(epoch)]
    assert len(parts) >= 16
    assert max(part.frames for part in parts) <= 15
    batches = stream.batches()
    for _ in range(40):
        next(batches)
        assert on_disk(tmp_path) <= BUDGET
    batches.close()  # type: ignore[attr-defined]
    again = stream_of(demos, tmp_path).batches()
    next(again)
    assert on_disk(tmp_path) <= BUDGET
    again.close()  # type: ignore[attr-defined]


def test_a_budget_too_small_for_an_episode_or_a_batch_is_refused(demos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parts of 11 frames; the longest episode has 12, .* Give 0\.068"):
        stream_of(demos, tmp_path, budget=4 * 11 * FRAME + 1)
    with pytest.raises(ConfigError, match="a batch 16"):
        stream_of(demos, tmp_path, batch=16)


def test_a_damaged_episode_stops_it_by_name(demos: Path, tmp_path: Path) -> None:
    stream = stream_of(demos, tmp_path / "parts")
    broken = tmp_path / "demos.hdf5"
    broken.write_bytes(demos.read_bytes()[: demos.stat().st_size // 2])
    stream.source.path = broken
    with pytest.raises(DataError, match=r"demos.hdf5"):
        list(islice(stream.batches(), 30))

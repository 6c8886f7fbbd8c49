from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.sampler import BatchSampler, epoch_frames


def walk(updates: range, *, batch: int, segments: Sequence[tuple[int, int]], seed: int = 0) -> list[NDArray[np.int64]]:
    return [epoch_frames(update, seed=seed, batch=batch, segments=segments) for update in updates]


@pytest.mark.parametrize(("num_frames", "batch"), [(10, 3), (12, 4), (7, 7), (3, 8), (1, 2), (100, 1)])
def test_every_epoch_holds_every_frame_exactly_once(num_frames: int, batch: int) -> None:
    updates = -(-5 * num_frames // batch)
    frames = np.concatenate(walk(range(updates), batch=batch, segments=[(0, num_frames)]))
    assert len(frames) == updates * batch
    for epoch in range(5):
        assert sorted(frames[epoch * num_frames : (epoch + 1) * num_frames].tolist()) == list(range(num_frames))


def test_epochs_segments_and_seeds_differ() -> None:
    one = np.concatenate(walk(range(10), batch=10, segments=[(0, 50), (5, 50)]))
    assert one[:50].tolist() != one[50:].tolist()
    two = np.concatenate(walk(range(10), batch=10, segments=[(0, 50)]))
    assert one[:50].tolist() == two[:50].tolist()
    assert one[50:].tolist() != two[50:].tolist()
    other = np.concatenate(walk(range(5), batch=10, segments=[(0, 50)], seed=1))
    assert one[:50].tolist() != other.tolist()


def test_an_update_depends_on_its_number_only() -> None:
    segments = [(0, 20), (7, 33), (19, 57)]
    forward = walk(range(40), batch=8, segments=segments)
    for update in np.random.default_rng(0).permutation(40):
        again = epoch_frames(int(update), seed=0, batch=8, segments=segments)
        assert again.tolist() == forward[update].tolist()


def test_growth_changes_nothing_before_it_and_begins_a_fresh_epoch() -> None:
    before = walk(range(7), batch=8, segments=[(0, 20)])
    after = walk(range(12), batch=8, segments=[(0, 20), (7, 40)])
    assert [frames.tolist() for frames in after[:7]] == [frames.tolist() for frames in before]
    assert sorted(np.concatenate(after[7:]).tolist()) == list(range(40))


def test_callers_may_write_into_what_they_get() -> None:
    frames = epoch_frames(0, seed=0, batch=5, segments=[(0, 5)])
    wanted = frames.tolist()
    frames[:] = 0
    assert epoch_frames(0, seed=0, batch=5, segments=[(0, 5)]).tolist() == wanted


@pytest.mark.parametrize("used", [0, 1, 7, 30])
def test_a_sampler_goes_on_after_the_batches_that_were_used(used: int) -> None:
    sampler = BatchSampler(num_frames=10, batch=4, seed=1)
    batches = list(islice(sampler, 40))
    assert batches == list(islice(sampler, 40))
    later = sampler.after(used)
    assert list(islice(later, 5)) == batches[used : used + 5]
    assert 10 * later.epoch + later.position == 4 * used
    assert list(islice(BatchSampler(10, 4, 1, later.epoch, later.position), 5)) == batches[used : used + 5]


def test_a_sampler_walks_as_the_updates_do() -> None:
    batches = list(islice(BatchSampler(num_frames=10, batch=4, seed=1), 12))
    assert batches == [frames.tolist() for frames in walk(range(12), batch=4, segments=[(0, 10)], seed=1)]


def test_a_place_outside_the_data_is_refused() -> None:
    with pytest.raises(DataError, match="Was the place saved with other data"):
        BatchSampler(num_frames=10, batch=4, seed=1, position=10)


def test_no_frames_and_no_segment_are_refused() -> None:
    with pytest.raises(DataError, match="no frames to train on from update 0"):
        epoch_frames(3, seed=0, batch=2, segments=[(0, 0)])
    with pytest.raises(DataError, match="update 3 lies before"):
        epoch_frames(3, seed=0, batch=2, segments=[(4, 10)])

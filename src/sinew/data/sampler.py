"""Which frames an update sees: a pure function of its number, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError


def epoch_frames(update: int, *, seed: int, batch: int, segments: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the frames of one update, (batch,).

    The run is cut into segments, one per growth of the data. Within a segment batches walk through
    random permutations of all its frames, one per epoch; a batch may straddle two epochs, and every
    frame comes exactly once an epoch.

    Args:
        update: the update's number, from 0.
        seed: of the permutations.
        batch: B, frames per update.
        segments: (first update, number of frames) of each, ascending; the first begins at update 0.

    Raises:
        DataError: no segment covers the update, or it has no frames.
    """
    number = max((number for number, (first, _) in enumerate(segments) if first <= update), default=None)
    if number is None:
        raise DataError(f"update {update} lies before the first of the segments {list(segments)}; begin them at 0.")
    first, num_frames = segments[number]
    if num_frames < 1:
        raise DataError(f"there are no frames to train on from update {first} on. Collect demonstrations first.")
    begin = (update - first) * batch
    return walk(begin, begin + batch, num_frames, partial(_permutation, seed, number, num_frames=num_frames))


def walk(begin: int, end: int, num_frames: int, order: Callable[[int], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the frames at places ``begin`` .. ``end`` of a walk through one order of all frames after another.

    Args:
        begin: first place, from 0.
        end: the place after the last one, larger.
        num_frames: places an epoch has.
        order: of an epoch, (num_frames,).
    """
    epochs = range(begin // num_frames, (end - 1) // num_frames + 1)
    cuts = [(epoch, slice(max(begin - epoch * num_frames, 0), end - epoch * num_frames)) for epoch in epochs]
    return np.concatenate([order(epoch)[cut] for epoch, cut in cuts])


@lru_cache(maxsize=4)
def _permutation(seed: int, segment: int, epoch: int, num_frames: int) -> NDArray[np.int64]:
    order = np.random.default_rng((seed, segment, epoch)).permutation(num_frames)
    order.flags.writeable = False
    return order

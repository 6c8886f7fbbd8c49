"""Which frames an update sees: a pure function of its place in the data, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass
class BatchSampler:
    """Endless batches of frame numbers for torch's ``DataLoader(windows, batch_sampler=...)``, and where one is.

    A loader with workers asks ahead. So what to save is where the batches that were *used* end: ``after(batches)``;
    a sampler made with it goes on with exactly the batches that would have come, whatever the number of workers.

    Attributes:
        num_frames: N, at least 1.
        batch: B.
        seed: of the permutations.
        epoch: from 0. position: frames of it that were seen.
    """

    num_frames: int
    batch: int
    seed: int
    epoch: int = 0
    position: int = 0

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.batch < 1 or not 0 <= self.position < self.num_frames or self.epoch < 0:
            raise DataError(
                f"{self}: frames and batch must be at least 1, and the position lie within the epoch. "
                "Was the place saved with other data?"
            )

    def __iter__(self) -> Iterator[list[int]]:
        begin = self.epoch * self.num_frames + self.position
        order = partial(_permutation, self.seed, 0, num_frames=self.num_frames)
        while True:
            yield walk(begin, begin + self.batch, self.num_frames, order).tolist()
            begin += self.batch

    def after(self, batches: int) -> BatchSampler:
        """Return the sampler that stands so many batches further on."""
        epoch, position = divmod(self.epoch * self.num_frames + self.position + batches * self.batch, self.num_frames)
        return BatchSampler(self.num_frames, self.batch, self.seed, epoch, position)


@lru_cache(maxsize=4)
def _permutation(seed: int, segment: int, epoch: int, num_frames: int) -> NDArray[np.int64]:
    order = np.random.default_rng((seed, segment, epoch)).permutation(num_frames)
    order.flags.writeable = False
    return order

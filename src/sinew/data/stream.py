"""Training from a data set larger than the disk has room for: a part of it is read in, used and removed again."""

from __future__ import annotations

import dataclasses
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import digest
from sinew.core.errors import ConfigError, DataError
from sinew.core.types import NumpyBatch, RobotSpec
from sinew.data.columns import columns_of
from sinew.data.config import IngestConfig
from sinew.data.formats.ingest import read_episode, split_of
from sinew.data.formats.source import Readable
from sinew.data.join import join, shapes_of
from sinew.data.layout import Layout
from sinew.data.store import Store
from sinew.data.windows import Windows

PARTS = 4
"""Sizes of a part that are on the disk at most: those that a batch begins and ends in, small ones that it covers, and
the next one, which is read in meanwhile."""


@dataclass(frozen=True)
class Room:
    """A place on the disk.

    Attributes:
        path: directory for the parts; those that an earlier stream left there are removed.
        num_bytes: most that parts may take; images lie in them as they are.
    """

    path: Path
    num_bytes: int


@dataclass(frozen=True)
class Part:
    """Whole episodes that are on the disk together.

    Attributes:
        epoch: from 0.
        number: within the epoch.
        episodes: numbers within the data set.
        begin: place of its first frame, counted over all epochs.
        frames: in it.
    """

    epoch: int
    number: int
    episodes: tuple[int, ...]
    begin: int
    frames: int

    @property
    def end(self) -> int:
        """Place after its last frame."""
        return self.begin + self.frames


class Stream:
    """Batches of windows from a source of any size, in an order that follows from the seed.

    Of the order these things hold, and no more: every training frame comes exactly once an epoch; the order is a
    function of (seed, place) alone, so ``batches(start)`` goes on as if it had never stopped; each epoch deals the
    episodes anew into parts at random, and walks through each part's frames in random order. So frames are mixed
    within a part, not over the whole epoch: two frames of one episode are never further apart than a part is long.
    A store of the whole data set mixes all frames; prefer it where there is room.

    Args:
        source: the data set.
        spec: its robot.
        config: the sentence for episodes without one, and the share held out; these episodes never come.
        room: where the parts lie, and how much they may take.
        cut: makes the windows of a part.
        batch: B.
        seed: of the order.

    Raises:
        ConfigError: the budget has no room for the longest episode, or for a batch, ``PARTS`` times.
    """

    def __init__(
        self,
        source: Readable,
        spec: RobotSpec,
        config: IngestConfig,
        *,
        room: Room,
        cut: Callable[[Store], Windows],
        batch: int,
        seed: int,
    ) -> None:
        self.source, self.spec, self.config, self.into = source, spec, config, room.path
        self.cut, self.batch, self.seed = cut, batch, seed
        kept = split_of(source, config.held_out)
        self.episodes = tuple(number for number in range(len(source.lengths)) if number not in kept)
        self.num_frames = sum(source.lengths[number] for number in self.episodes)
        layout = Layout({}, tuple(sorted(spec.sensors)), reward=True)
        per_frame = sum(column.frame_bytes for column in columns_of(spec, layout).values())
        self.room = room.num_bytes // PARTS // per_frame
        longest = max(source.lengths[number] for number in self.episodes)
        least = max(longest, batch)
        if self.room < least:
            raise ConfigError(
                f"{source.path}: {room.num_bytes / 1e6:.3g} MB hold {PARTS} parts of {self.room} frames; the "
                f"longest episode has {longest}, a batch {batch}. Give {PARTS * least * per_frame / 1e6:.3g} MB "
                f"(--data.ingest.stream {PARTS * least * per_frame / 1e9:.2g})."
            )
        self._windows: dict[Part, Windows] = {}
        self._first = np.concatenate([[0], np.cumsum(source.lengths)])

    def refresh(self) -> None:
        """Do nothing: what is streamed does not grow."""

    def parts(self, epoch: int) -> tuple[Part, ...]:
        """Return how an epoch's episodes are dealt."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.episodes).tolist()
        groups: list[list[int]] = [[]]
        frames = 0
        for episode in order:
            length = self.source.lengths[episode]
            if frames + length > self.room:
                groups.append([])
                frames = 0
            groups[-1].append(episode)
            frames += length
        sizes = [sum(self.source.lengths[episode] for episode in group) for group in groups]
        begins = epoch * self.num_frames + np.concatenate([[0], np.cumsum(sizes)])
        return tuple(
            Part(epoch, number, tuple(group), int(begins[number]), sizes[number]) for number, group in enumerate(groups)
        )

    def batches(self, start: int = 0) -> Iterator[NumpyBatch]:
        """Yield batches without end, from the ``start``-th on; ids are frame numbers within the whole data set.

        The next part is read in by a thread while the batches of this one are used.

        Raises:
            DataError: an episode is damaged or does not fit the spec.
            SinewError: the disk is full.
        """
        self._clean()
        try:
            with ThreadPoolExecutor(1) as reader:
                yield from self._batches(reader, start * self.batch)
        finally:
            self._windows.clear()
            self._clean()

    def _batches(self, reader: ThreadPoolExecutor, place: int) -> Iterator[NumpyBatch]:
        coming = self._parts_from(place)
        ready: deque[tuple[Part, Future[Store]]] = deque()
        while True:
            end = place + self.batch
            while ready and ready[0][0].end <= place:
                used = ready.popleft()[0]
                self._windows.pop(used, None)
                shutil.rmtree(self._path(used))
            while not ready or ready[-1][0].begin < end:  # until the one after the last that is needed
                part = next(coming)
                ready.append((part, reader.submit(self._read_in, part)))
            needed = [(part, store.result()) for part, store in ready if part.begin < end]
            yield self._gather(needed, place, end)
            place = end

    def _parts_from(self, place: int) -> Iterator[Part]:
        epoch = place // self.num_frames
        while True:
            yield from (part for part in self.parts(epoch) if part.end > place)
            epoch += 1

    def _gather(self, parts: list[tuple[Part, Store]], place: int, end: int) -> NumpyBatch:
        found: list[tuple[NDArray[np.int64], NumpyBatch]] = []
        rows = 0
        for part, store in parts:
            order, names = self._order(part)
            chosen = order[max(place - part.begin, 0) : max(end - part.begin, 0)]
            if part not in self._windows:
                self._windows[part] = self.cut(store)
            batch = dataclasses.replace(self._windows[part].gather(chosen), ids=names[chosen])
            found.append((np.arange(rows, rows + len(chosen)), batch))
            rows += len(chosen)
        if len(found) == 1:
            return found[0][1]
        windows = [self._windows[part] for part, _ in parts]
        return join(found, shapes_of([str(part) for part, _ in parts], windows), rows)

    @lru_cache(maxsize=PARTS)  # noqa: B019  (as long as the stream)
    def _order(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the order of a part's frames, and their numbers within the data set."""
        order = np.random.default_rng((self.seed, part.epoch, part.number)).permutation(part.frames)
        return order, np.concatenate([np.arange(self._first[n], self._first[n + 1]) for n in part.episodes])

    def _path(self, part: Part) -> Path:
        key = digest(self.spec, [str(self.source.path), self.seed, self.config.instruction, part.episodes])
        return self.into / f"part-{part.epoch}-{part.number}-{key}"

    def _read_in(self, part: Part) -> Store:
        path = self._path(part)
        shutil.rmtree(path, ignore_errors=True)
        first = read_episode(self.source, part.episodes[0], self.spec, instruction=self.config.instruction)
        store = Store.create(path, self.spec, tuple(first.targets))
        store.append([first])
        for number in part.episodes[1:]:
            store.append([read_episode(self.source, number, self.spec, instruction=self.config.instruction)])
        store.unlock()
        if store.num_frames != part.frames:
            raise DataError(f"{self.source.path}: part of {part.frames} frames was read as {store.num_frames}.")
        return store

    def _clean(self) -> None:
        """Remove the parts that are there, of this call or of an earlier one that was killed."""
        for path in self.into.glob("part-*-*-*"):
            if (path / "spec.json").exists():
                shutil.rmtree(path)

"""The one stacker of history: T ticks per row, filled from single ticks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.rollout import take_rows
from sinew.core.types import NumpyObservation, Rows


class History:
    """Keeps the last T observations and P actions of every row and stacks them; used wherever a policy acts.

    Rows grow on demand. The memory of a row is forgotten by ``reset``; its first observation then
    fills all T places and ``history_is_pad`` marks the copies. Before it nothing was executed: the P places are NaN.

    What was executed is what an observation brings along, for only the loop around a policy knows what a shield, a
    helper or the robot made of its action; where it brings nothing, what ``acted`` was told last.

    Args:
        ticks: T, at least 1.
        previous: P; 0 hands no actions on.
        actions: A, where P is not 0.

    Raises:
        ConfigError: T is smaller.
    """

    def __init__(self, ticks: int, *, previous: int = 0, actions: int = 0) -> None:
        if ticks < 1:
            raise ConfigError(f"history is {ticks}, at least 1 tick is needed (1 means the present only).")
        self.ticks, self.previous, self.actions = ticks, previous, actions
        self.seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.buffers: dict[str, NDArray[Any]] = {}

    def alike(self) -> History:
        """Return another one of the same sizes that remembers nothing."""
        return History(self.ticks, previous=self.previous, actions=self.actions)

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows."""
        if rows is None:
            self.seen[:] = 0
        else:
            self.seen[np.asarray([row for row in rows if row < len(self.seen)], dtype=np.int64)] = 0

    def push(self, obs: NumpyObservation, rows: Rows = None) -> NumpyObservation:
        """Take one tick (T = 1) for these rows and return them with T ticks and P actions, oldest first."""
        if self.ticks == 1 and not self.previous:
            return obs if obs.prev_actions is None else dataclasses.replace(obs, prev_actions=None)
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        self._grow(int(index.max(initial=-1)) + 1)
        obs = dataclasses.replace(obs, prev_actions=self._before(obs, index) if self.previous else None)
        if self.ticks == 1:
            self.seen[index] = 1
            return obs
        images = {name: self._stack(f"images.{name}", array, index) for name, array in obs.images.items()}
        sensors = {name: self._stack(f"sensors.{name}", array, index) for name, array in obs.sensors.items()}
        state = self._stack("state", obs.state, index)
        self.seen[index] = np.minimum(self.seen[index] + 1, self.ticks)
        is_pad = np.arange(self.ticks)[None, :] < (self.ticks - self.seen[index])[:, None]
        return dataclasses.replace(obs, images=images, sensors=sensors, state=state, history_is_pad=is_pad)

    def acted(self, actions: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Note the actions (B, A) that these rows were told to take this tick."""
        if self.previous:
            self._grow(int(rows.max(initial=-1)) + 1)
            self._buffer("asked", actions.shape[1:], np.dtype(np.float32))[rows] = actions

    def state_dict(self) -> Mapping[str, NDArray[Any]]:
        """Return copies of everything remembered."""
        return {"seen": self.seen.copy(), **{name: array.copy() for name, array in self.buffers.items()}}

    def _before(self, obs: NumpyObservation, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the P actions (B, P, A) executed before now."""
        asked = self._buffer("asked", (self.actions,), np.dtype(np.float32))
        executed = self._buffer("executed", (self.previous, self.actions), np.dtype(np.float32))
        last = asked[index] if obs.prev_actions is None else obs.prev_actions[:, -1]
        stacked = np.concatenate([executed[index, 1:], last[:, None].astype(np.float32, copy=False)], axis=1)
        stacked[self.seen[index] == 0] = np.nan
        executed[index] = stacked
        return stacked

    def _buffer(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        """Return the memory of a part with a place for every row."""
        buffer = self.buffers.get(name)
        if buffer is None or len(buffer) < len(self.seen):
            larger = np.zeros((len(self.seen), *shape), dtype=kind)
            if buffer is not None:
                larger[: len(buffer)] = buffer
            buffer = self.buffers[name] = larger
        return buffer

    def _stack(self, name: str, array: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
        buffer = self._buffer(name, (self.ticks, *array.shape[2:]), array.dtype)
        stacked = np.concatenate([buffer[index, 1:], array], axis=1)
        fresh = self.seen[index] == 0
        stacked[fresh] = array[fresh]
        buffer[index] = stacked
        return stacked

    def _grow(self, num_rows: int) -> None:
        if num_rows > len(self.seen):
            self.seen = np.concatenate([self.seen, np.zeros(num_rows - len(self.seen), dtype=np.int64)])


class ChunkQueue:
    """Plays back predicted chunks, one action a tick and row.

    Args:
        execute: actions of a chunk that are run before a new one is wanted.
    """

    def __init__(self, execute: int) -> None:
        self.execute = execute
        self.chunks: NDArray[np.float32] | None = None
        self.played: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def reset(self, rows: Rows = None) -> None:
        """Throw away what these rows had left."""
        if rows is None:
            self.played[:] = self.execute
        else:
            self.played[np.asarray([row for row in rows if row < len(self.played)], dtype=np.int64)] = self.execute

    def wanting(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these rows need a new chunk, as a mask over ``rows``."""
        if len(rows) and int(rows.max()) >= len(self.played):
            missing = int(rows.max()) + 1 - len(self.played)
            self.played = np.concatenate([self.played, np.full(missing, self.execute)])
        return self.played[rows] >= self.execute

    def put(self, rows: NDArray[np.int64], chunks: NDArray[np.float32]) -> None:
        """Give these rows new chunks (B, H, A)."""
        if self.chunks is None or len(self.chunks) < len(self.played):
            larger = np.zeros((len(self.played), *chunks.shape[1:]), dtype=np.float32)
            if self.chunks is not None:
                larger[: len(self.chunks)] = self.chunks
            self.chunks = larger
        self.chunks[rows] = chunks
        self.played[rows] = 0

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the next action of each row, (B, A)."""
        if self.chunks is None:
            raise ValueError("no chunk was put before the first action was taken")
        actions = self.chunks[rows, self.played[rows]]
        self.played[rows] += 1
        return actions


def next_actions(
    obs: NumpyObservation,
    rows: Rows,
    history: History,
    queue: ChunkQueue,
    predict: Callable[[NumpyObservation], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return this tick's actions (B, A); chunks are predicted for the rows that have none left.

    Args:
        obs: B observations of this tick (T = 1).
        rows: which rows of the memory they belong to; None means 0 .. B-1.
        history: takes the tick, and what is answered to it.
        queue: holds the chunks.
        predict: returns chunks (B, H, A) for observations with full history.
    """
    index = np.arange(obs.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
    full = history.push(obs.public(), index)
    wanting = queue.wanting(index)
    if wanting.any():
        asked = full if wanting.all() else take_rows(full, wanting)
        queue.put(index[wanting], predict(asked))
    actions = queue.take(index)
    history.acted(actions, index)
    return actions

"""Training windows cut out of stores: what was seen up to a frame, and the labels from it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.actions import convert_actions, matches
from sinew.core.errors import ConfigError, DataError
from sinew.core.spec import check_spec
from sinew.core.types import ActionKind, NumpyBatch, NumpyObservation
from sinew.data.store import Store

FOREVER = 2**31


@dataclass(frozen=True)
class TaskCount:
    """How much there is of one task."""

    task: str
    episodes: int
    frames: int


class Windows:
    """Random access to windows over the training or the held-out episodes of several stores.

    Frames are numbered through the chosen episodes, store after store, in the order of recording; so
    numbers stay the same when the last store grows (call ``refresh`` then). A window never leaves
    its episode: history is filled with the first frame, chunks with the last one that is known.

    Args:
        stores: of one robot; targets that a store lacks are NaN.
        history: T, ticks of observation up to the frame.
        horizon: H, labels from the frame on.
        held_out: the held-out episodes instead of the others.
        labels: further targets of a single store by name, (N, k) with a row for each of its frames; recorded targets
            are then not handed out. None hands these out.

        kind: what actions shall mean, see ``core.actions``; None leaves them as the robot takes them. Whoever learns
            from others must turn them back before the robot does.
        measured_from: state by action, by name, where names and units do not say it.

    Raises:
        SpecError: the stores are of different robots, or their actions cannot become of that kind.
        DataError: two stores record a target with different sizes, or labels do not fit the store.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        history: int,
        horizon: int,
        held_out: bool = False,
        labels: Mapping[str, NDArray[np.float32]] | None = None,
        kind: ActionKind | None = None,
        measured_from: Mapping[str, str] | None = None,
    ) -> None:
        if not stores or history < 1 or horizon < 1:
            raise ConfigError(
                f"windows over {len(stores)} stores, history {history}, horizon {horizon}: each must be at least 1."
            )
        for store in stores[1:]:
            sides = (f"store {stores[0].path}", f"store {store.path}")
            check_spec(stores[0].spec, store.spec, sides=sides, advice="Train on stores of one robot.")
        self.stores, self.history, self.horizon, self.held_out = tuple(stores), history, horizon, held_out
        self.previous = 0
        self.labels = labels
        for name, rows in (labels or {}).items():
            if len(stores) != 1 or len(rows) != stores[0].num_frames:
                raise DataError(
                    f"labels {name} are of {len(rows)} frames, {len(stores)} stores have "
                    f"{sum(store.num_frames for store in stores)}. Label one store, each of its frames."
                )
        self.spec = stores[0].spec
        self.kind: ActionKind = kind or self.spec.kind
        self._pairs = {} if self.kind == self.spec.kind else matches(self.spec, measured_from)
        self._index()

    @property
    def num_frames(self) -> int:
        """Windows to choose from: frames of the chosen episodes."""
        return int(self._begin[-1])

    @property
    def num_episodes(self) -> int:
        """Episodes that the windows are cut from."""
        return len(self._length)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks present, in the order of their first episode."""
        return tuple(dict.fromkeys(self._task))

    def describe(self) -> tuple[TaskCount, ...]:
        """Return episodes and frames per task."""
        task = np.asarray(self._task, dtype=object)
        return tuple(
            TaskCount(name, int((task == name).sum()), int(self._length[task == name].sum())) for name in self.tasks
        )

    def frames_of(self, episode: int) -> NDArray[np.int64]:
        """Return the numbers of all frames of one of the chosen episodes, in their order.

        Raises:
            DataError: there is none of that number.
        """
        if not 0 <= episode < self.num_episodes:
            raise DataError(f"there is no episode {episode} among these windows, which are of {self.num_episodes}.")
        return np.arange(self._begin[episode], self._begin[episode + 1])

    def named(self, episode: int) -> tuple[str, str]:
        """Return the name and the instruction of one of the chosen episodes."""
        return self._name[episode], self._instruction[episode]

    def remembering(self, previous: int) -> Windows:
        """Hand out the ``previous`` actions executed before each frame, too, and return the windows.

        See ``Observation.prev_actions``; 0, as at first, hands none out.
        """
        self.previous = previous
        return self

    def refresh(self) -> None:
        """Take notice of episodes that were appended, by this process or another."""
        for store in self.stores:
            store.reload()
        self._index()

    def __len__(self) -> int:
        """Return how many windows there are to choose from."""
        return self.num_frames

    def __getitem__(self, frame: int) -> NumpyBatch:
        """Return one window, as a batch of one row."""
        if not -len(self) <= frame < len(self):
            raise IndexError(f"window {frame} is asked for, there are {len(self)}.")
        return self.gather(np.array([frame % len(self)]))

    def __getitems__(self, frames: Sequence[int]) -> NumpyBatch:
        """Return a whole batch at once: torch's ``DataLoader`` asks for it so; ``collate_fn`` gets the batch."""
        return self.gather(np.asarray(frames, dtype=np.int64))

    def gather(self, frames: NDArray[np.int64]) -> NumpyBatch:
        """Return the windows at these frames.

        Args:
            frames: (B,) numbers in 0 .. ``num_frames``.

        Returns:
            Images uint8 (B, T, 3, h, w), state (B, T, S), actions (B, H, A), is_pad (B, H) with the first step never
            padded, targets of the frame itself, weight 1; ids are frame numbers within the store. All are copies.

        Raises:
            DataError: a number is out of range.
        """
        if len(frames) and not 0 <= frames.min() <= frames.max() < self.num_frames:
            raise DataError(f"frames {frames.min()} .. {frames.max()} are asked for, there are {self.num_frames}.")
        episode = np.searchsorted(self._begin, frames, side="right") - 1
        offset, store = self._offset[episode], self._store[episode]
        tick = frames - self._begin[episode]
        past = tick[:, None] + np.arange(1 - self.history, 1)
        seen = offset[:, None] + np.maximum(past, 0)
        actions, is_pad = self.chunks(frames)
        obs = NumpyObservation(
            images={name: self._take(f"images.{name}", store, seen) for name in self.spec.cameras},
            state=self._take("state", store, seen),
            instruction=tuple(self._instruction[number] for number in episode),
            sensors={name: self._take(f"sensors.{name}", store, seen) for name in self.sensors},
            history_is_pad=past < 0 if self.history > 1 else None,
            prev_actions=self._executed(store, offset, tick) if self.previous else None,
        )
        return NumpyBatch(
            obs=obs,
            actions=actions,
            is_pad=is_pad,
            weight=np.ones(len(frames), dtype=np.float32),
            targets=self._targets(store, offset + tick),
            task=tuple(self._task[number] for number in episode),
            source=tuple(self._source[number] for number in episode),
            ids=offset + tick,
        )

    def chunks(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return of the windows at these frames the actions (B, H, A) and which are padding (B, H), without images."""
        episode = np.searchsorted(self._begin, frames, side="right") - 1
        tick, future = frames - self._begin[episode], np.arange(self.horizon)
        known = np.minimum(self._length[episode] - tick, self._label_horizon[episode])[:, None]
        labelled = (self._offset[episode] + tick)[:, None] + np.minimum(future, known - 1)
        return self._actions(self._store[episode], labelled), future >= known

    def _executed(
        self, store: NDArray[np.int64], offset: NDArray[np.int64], tick: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return what was executed before these ticks, (B, P, A); NaN before the episode."""
        earlier = tick[:, None] + np.arange(-self.previous, 0)
        executed = self._take("executed", store, offset[:, None] + np.maximum(earlier, 0))
        executed[earlier < 0] = np.nan
        return executed

    def _index(self) -> None:
        chosen = [
            (number, record)
            for number, store in enumerate(self.stores)
            for record in store.records
            if record.held_out == self.held_out
        ]
        records = [record for _, record in chosen]
        self._store = np.array([number for number, _ in chosen], dtype=np.int64)
        self._offset = np.array([record.offset for record in records], dtype=np.int64)
        self._length = np.array([record.frames for record in records], dtype=np.int64)
        self._label_horizon = np.array([record.label_horizon or FOREVER for record in records], dtype=np.int64)
        self._begin = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._length)])
        self._instruction = [record.instruction for record in records]
        self._name = [record.id or f"episode {number}" for number, record in enumerate(records)]
        self._task = [record.task for record in records]
        self._source = [record.source for record in records]
        self._target_sizes: dict[str, int] = {}
        self._check_sensors()
        for store in self.stores:
            for name, size in store.target_sizes.items():
                if size is not None and self._target_sizes.setdefault(name, size) != size:
                    raise DataError(
                        f"{store.path}: target {name} has {size} values, in another store {self._target_sizes[name]}. "
                        "Record both from the same world."
                    )

    def _check_sensors(self) -> None:
        filled = [store for store in self.stores if store.num_episodes] or [self.stores[0]]
        self.sensors = filled[0].layout.sensors
        for store in filled[1:]:
            if store.layout.sensors != self.sensors:
                raise DataError(
                    f"{store.path}: has sensors {list(store.layout.sensors)}, {filled[0].path} has "
                    f"{list(self.sensors)}. Record both with the same sensors."
                )

    def _take(self, name: str, store: NDArray[np.int64], frames: NDArray[np.int64]) -> NDArray[Any]:
        """Copy frames (B, ...) out of a column; each row from the store it belongs to."""
        if len(self.stores) == 1:
            return self.stores[0].column(name).take(frames, axis=0)
        parts = [np.flatnonzero(store == number) for number in range(len(self.stores))]
        column = next(source.columns[name] for source in self.stores if name in source.columns)
        taken = np.empty((*frames.shape, *column.shape), column.dtype)
        for source, rows in zip(self.stores, parts, strict=True):
            if len(rows):
                taken[rows] = source.column(name).take(frames[rows], axis=0)
        return taken

    def _actions(self, store: NDArray[np.int64], frames: NDArray[np.int64]) -> NDArray[np.float32]:
        actions = self._take("action", store, frames)
        if self.kind == self.spec.kind:
            return actions
        states = self._take("state", store, frames)
        return convert_actions(actions, states, self._pairs, kind=self.spec.kind, to=self.kind).astype(np.float32)

    def _targets(self, store: NDArray[np.int64], frames: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        if self.labels is not None:
            return {name: rows[frames] for name, rows in self.labels.items()}
        return {name: self._take_target(name, store, frames) for name in self._target_sizes}

    def _take_target(self, name: str, store: NDArray[np.int64], frames: NDArray[np.int64]) -> NDArray[np.float32]:
        taken = np.full((len(frames), self._target_sizes[name]), np.nan, dtype=np.float32)
        for number, source in enumerate(self.stores):
            rows = np.flatnonzero(store == number)
            if len(rows) and name in source.target_sizes:
                taken[rows] = source.column(f"targets.{name}").take(frames[rows], axis=0)
        return taken

"""Episodes on disk: raw columns that grow, and a log whose complete lines say what counts.

A store is a directory::

    store.json          schema version, targets, sensors, whether there are rewards, how frames are kept
    spec.json           the robot
    images.<cam>.u8     (N, 3, h, w) uint8, all episodes one after another; or, in a fourth of the space,
    images.<cam>.jpg    the frames as JPEG one after another, and images.<cam>.i64, where each ends (N,) int64; or
    images.<cam>.packets.i64    where the packets of the data set's own films lie (P, 3) int64, and images.<cam>.i64,
                        film, first and last packet of each frame (N, 3) int64
    state.f32 action.f32 executed.f32 targets.<name>.f32     (N, size) float32, little-endian
    reward.f32          (N,) float32, where rewards were recorded
    sensors.<name>.f32  (N, ...) as the spec says, .u8 .i16 .u16 for other types
    episodes.jsonl      one line per episode, written last: the commit
    writer.lock         while a process writes

An append writes and flushes the columns first, then the log. Whatever lies beyond the last complete
line was never committed; it is ignored when reading and cut off by the next writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sinew.core.config import from_dict, to_dict
from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.files import fsync_path, read_json, require_free, write_json
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.data.columns import Column, Packed, View, checksum, columns_of, pack
from sinew.data.episode import Episode
from sinew.data.films import FilmFile
from sinew.data.layout import Layout, Record, cut, extend, read_log
from sinew.data.lock import WriterLock
from sinew.data.reading import Reading


class Store:
    """An append-only directory of episodes of one robot; get one from ``create`` or ``open``.

    Reading needs no lock, goes on while another process writes (``reload`` shows what it committed)
    and is safe after a fork; a pickled store opens again by path. Writing takes the writer's lock at
    the first ``append``, ``truncate`` or ``lock`` and keeps it until ``unlock`` or the end of the process.

    Attributes:
        path: the directory.
        spec: the robot.
        layout: which columns are recorded.
        columns: the raw files by column name.
        records: the committed log, one entry per episode.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "store.json").exists():
            raise DataError(f"{path}: no store here (store.json is missing). Collect demonstrations first.")
        try:
            self.spec = from_dict(RobotSpec, read_json(path / "spec.json"), str(path / "spec.json"))
        except ConfigError as error:
            raise DataError(str(error)) from error
        self.path = path
        self._log = path / "episodes.jsonl"
        self._lock: WriterLock | None = None
        self._reading: Reading | None = None
        self.reload()

    @classmethod
    def create(
        cls,
        path: Path,
        spec: RobotSpec,
        target_names: Sequence[str] = (),
        *,
        jpeg: bool = False,
        films: Mapping[str, tuple[FilmFile, ...]] | None = None,
    ) -> Store:
        """Make an empty store.

        Args:
            path: the directory; may exist.
            spec: the robot.
            target_names: auxiliary labels that every episode brings; sizes are learned from the first one.
            jpeg: pack images as JPEG, which loses a little of them and takes longer to read.
            films: by camera, those that its images stay in; episodes then bring ``FilmFrames``.

        Raises:
            DataError: there is one already.
            SinewError: the place cannot be written.
        """
        if (path / "store.json").exists():
            raise DataError(f"{path}: holds a store already. Open it, or choose another place.")
        write_json(path / "spec.json", to_dict(spec))
        Layout(dict.fromkeys(target_names), jpeg=jpeg, films=films or {}).write(path / "store.json")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store.

        Raises:
            DataError: missing, of another schema version, or files and log disagree.
        """
        return cls(path)

    @classmethod
    def open_or_create(
        cls,
        path: Path,
        spec: RobotSpec,
        target_names: Sequence[str] = (),
        *,
        jpeg: bool = False,
        films: Mapping[str, tuple[FilmFile, ...]] | None = None,
    ) -> Store:
        """Open a store that must fit, or make it.

        Raises:
            SpecError: the store there is of another robot.
            DataError: it holds other targets, or cannot be read.
        """
        if not (path / "store.json").exists():
            return cls.create(path, spec, target_names, jpeg=jpeg, films=films)
        store = cls(path)
        advice = "Choose another place, or the settings it was recorded with."
        check_spec(store.spec, spec, sides=(f"store {path}", "world"), advice=advice)
        if set(store.target_sizes) != set(target_names):
            raise DataError(
                f"{path}: holds targets {sorted(store.target_sizes)}, wanted are {sorted(target_names)}. "
                "Collect again, or choose another place."
            )
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a path, so that every process maps the files itself."""
        return (_reopen, (self.path, self._reading))

    @property
    def target_sizes(self) -> Mapping[str, int | None]:
        """Auxiliary labels and how many values each has; None until the first episode."""
        return self.layout.targets

    @property
    def num_episodes(self) -> int:
        """Committed episodes."""
        return len(self.records)

    @property
    def num_frames(self) -> int:
        """Committed frames, N."""
        return self.records[-1].offset + self.records[-1].frames if self.records else 0

    def column(self, name: str) -> View:
        """Return a read-only memory-mapped view of all committed frames, (N, ...); JPEG is decoded as it is read.

        Args:
            name: ``images.<cam>``, ``state``, ``action``, ``executed``, ``reward``, ``targets.<name>`` or
                ``sensors.<name>``.
        """
        view = self._views.get(name)
        if view is None or len(view) != self.num_frames:
            self._views[name] = view = self.columns[name].view(self.path, self.num_frames)
        return view

    def episode(self, number: int) -> Episode:
        """Read one episode; its arrays are views of the files.

        Raises:
            DataError: there is none of that number, or the bytes are not those that were committed.
        """
        if not 0 <= number < self.num_episodes:
            raise DataError(f"{self.path}: no episode {number}; there are {self.num_episodes}, counted from 0.")
        record = self.records[number]
        first, end = record.offset, record.offset + record.frames
        views = {name: self.column(name) for name in self.columns}
        if checksum(self.columns[name].stored(view, first, end) for name, view in views.items()) != record.crc:
            raise DataError(
                f"{self.path}: episode {number} ({record.id}) is damaged, its checksum differs. "
                f"Collect again, or truncate the store to {number} episodes."
            )
        arrays = {name: view[first:end] for name, view in views.items()}
        return Episode(
            spec=self.spec,
            images={name: arrays[f"images.{name}"] for name in self.spec.cameras},
            state=arrays["state"],
            action=arrays["action"],
            executed=arrays["executed"],
            instruction=record.instruction,
            task=record.task,
            success=record.success,
            targets={name: arrays[f"targets.{name}"] for name in self.target_sizes},
            label_horizon=record.label_horizon,
            source=record.source,
            id=record.id,
            held_out=record.held_out,
            sensors={name: arrays[f"sensors.{name}"] for name in self.layout.sensors},
            reward=arrays.get("reward"),
            terminated=record.terminated,
            final_state=None if record.final_state is None else np.asarray(record.final_state, np.float32),
        )

    def append(self, episodes: Sequence[Episode]) -> None:
        """Commit episodes; after a crash the first few of them are there or all or none, each whole.

        Raises:
            DataError: an episode is not valid, or another process writes here.
            SpecError: an episode is of another robot.
            SinewError: the disk is full; the store is as it was.
        """
        if not episodes:
            return
        self.lock()
        self._check(episodes)
        self._settle(episodes[0])
        num_frames = sum(episode.num_frames for episode in episodes)
        num_bytes = num_frames * sum(column.frame_bytes for column in self.columns.values())
        require_free(self.path, num_bytes, f"recording {len(episodes)} episodes")
        rows = [pack(episode, self.columns) for episode in episodes]
        records: list[Record] = []
        offset = self.num_frames
        for episode, row in zip(episodes, rows, strict=True):
            records.append(Record.of(episode, offset=offset, crc=checksum(row.values())))
            offset += episode.num_frames
        lines = [record.line() for record in records]
        try:
            for name, column in self.columns.items():
                self._extend(column, [row[name] for row in rows])
            extend(self._log, self._log_bytes, [memoryview(b"".join(lines))])
            if not self.records:  # the files are new
                fsync_path(self.path)
        except OSError as error:
            self._cut()
            raise SinewError(
                f"{self.path}: could not be extended ({error.strerror}). The store still holds its "
                f"{self.num_episodes} episodes; free some disk space and run the same command again."
            ) from error
        self.records += records
        for line in lines:
            self._line_ends.append(self._log_bytes + len(line))

    def truncate(self, num_episodes: int) -> None:
        """Forget all but the first episodes; views handed out before must not be read any more.

        Raises:
            DataError: there are fewer, or another process writes here.
        """
        self.lock()
        if not 0 <= num_episodes <= self.num_episodes:
            raise DataError(f"{self.path}: cannot keep {num_episodes} episodes, there are {self.num_episodes}.")
        del self.records[num_episodes:], self._line_ends[num_episodes:]
        self._views.clear()
        self._cut()

    def lock(self) -> None:
        """Become the one writer and cut off what a killed one left uncommitted.

        Raises:
            DataError: another process writes here.
        """
        if self._lock is None or not self._lock.held:
            self._lock = WriterLock(self.path / "writer.lock")
            self.reload()
            self._cut()

    def read_as(self, reading: Reading) -> None:
        """Understand the log in this way from now on, in this object only; what is written stays as it is."""
        self._reading = reading
        self.reload()

    def unlock(self) -> None:
        """Let other processes write; reading goes on."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def reload(self) -> None:
        """Take notice of what another process committed.

        Raises:
            DataError: files and log disagree.
        """
        self.layout = Layout.read(self.path / "store.json")
        self.columns = columns_of(self.spec, self.layout)
        self.records, self._line_ends = read_log(self._log)
        if self._reading is not None:
            self.records = self._reading.of(self.records)
        self._views: dict[str, View] = {}
        for column in self.columns.values():
            frames = column.held(self.path, self.num_frames)
            if frames < self.num_frames:
                file = self.path / column.files[0]
                number = next(i for i, record in enumerate(self.records) if record.offset + record.frames > frames)
                raise DataError(
                    f"{file}: ends within episode {number} ({self.records[number].id}) of {self.num_episodes}, "
                    f"at frame {frames} of {self.num_frames}. Restore the file or collect again."
                )

    @property
    def _log_bytes(self) -> int:
        return self._line_ends[-1] if self._line_ends else 0

    def _extend(self, column: Column, rows: Sequence[Packed]) -> None:
        """Write what episodes add to a column."""
        begins = lengths = column.lengths(self.path, self.num_frames)
        parts: list[list[memoryview]] = [[] for _ in lengths]
        for row in rows:
            for number, array in enumerate(column.placed(row, lengths)):
                parts[number].append(array.data)
            lengths = tuple(length + array.nbytes for length, array in zip(lengths, row, strict=True))
        for file, begin, part in zip(column.files, begins, parts, strict=True):
            extend(self.path / file, begin, part)

    def _check(self, episodes: Sequence[Episode]) -> None:
        sizes = {name: size for name, size in self.target_sizes.items() if size is not None and self.records}
        known = self.spec
        layout = self.layout if self.records else self.layout.settled(episodes[0])
        for episode in episodes:
            episode.check()
            if episode.spec is not known:
                advice = "Keep one store per robot."
                check_spec(
                    self.spec, episode.spec, sides=(f"store {self.path}", f"episode {episode.id}"), advice=advice
                )
                known = episode.spec
            found = {name: target.shape[1] for name, target in episode.targets.items()}
            sizes = sizes or found
            if found != sizes or set(found) != set(self.target_sizes):
                raise DataError(
                    f"{self.path}: episode {episode.id} has targets of sizes {found}, wanted are "
                    f"{sizes if set(sizes) == set(self.target_sizes) else sorted(self.target_sizes)}."
                )

            self._check_further(episode, layout)

    def _check_further(self, episode: Episode, layout: Layout) -> None:
        found = layout.settled(episode)
        if not found.fits(layout):
            raise DataError(
                f"{self.path}: episode {episode.id} has {found}, the episodes before it have {layout}. "
                "Keep them in a store of their own."
            )

    def _settle(self, first: Episode) -> None:
        """Write down with the first episode which columns there are."""
        layout = self.layout if self.records else self.layout.settled(first)
        if layout != self.layout:
            layout.write(self.path / "store.json")
            self.layout = layout
            self.columns = columns_of(self.spec, layout)

    def _cut(self) -> None:
        """Cut all files back to what is committed, the log first."""
        cut(self._log, self._log_bytes)
        for column in self.columns.values():
            for file, length in zip(column.files, column.lengths(self.path, self.num_frames), strict=True):
                cut(self.path / file, length)


def _reopen(path: Path, reading: Reading | None) -> Store:
    store = Store.open(path)
    if reading is not None:
        store.read_as(reading)
    return store

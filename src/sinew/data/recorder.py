"""Records a robot's episodes frame by frame, so that a crash costs at most the frame that was being written.

Needs NumPy and the standard library only: it runs on a robot without torch.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError, SinewError, SpecError
from sinew.core.files import fsync_path, require_free
from sinew.core.spec import differences
from sinew.core.types import NumpyObservation, RobotSpec
from sinew.data.lock import WriterLock
from sinew.data.recording import (
    BEGINNING,
    FRAME,
    OPEN,
    SCHEMA_VERSION,
    TIME,
    Beginning,
    Columns,
    Ending,
    columns_of,
    ending_entry,
    entry,
    episode_files,
    read_ends,
    seal,
    text,
)
from sinew.data.recovery import commit, finish

ROOM_S = 10.0
"""An episode is not begun on a disk that has no room for so much of it [s]."""


@dataclass(frozen=True)
class Frame:
    """One tick: what was seen, and what was done then.

    Attributes:
        images: by camera, (3, h, w) uint8 RGB.
        state: (S,) physical units.
        action: (A,) what should be done, the label; brought within its bounds when it is written.
        executed: (A,) what was sent to the robot; None means the action.
        sensors: by name, of the shape and type that the spec says.
        targets: auxiliary labels by name, (k,); the same names in all frames of an episode.
        reward: for this action, in all frames of an episode or in none.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    executed: NDArray[np.float32] | None = None
    sensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    reward: float | None = None

    @classmethod
    def of(
        cls,
        obs: NumpyObservation,
        action: NDArray[np.float32],
        executed: NDArray[np.float32] | None = None,
        *,
        targets: tuple[str, ...] = (),
        reward: float | None = None,
    ) -> Frame:
        """Return the frame of an observation with one row.

        Args:
            obs: what was seen.
            action: (A,) label.
            executed: (A,) what was sent.
            targets: names of ``privileged`` values to keep as auxiliary labels.
            reward: for this action.
        """
        return cls(
            images={name: images[0, -1] for name, images in obs.images.items()},
            state=obs.state[0, -1],
            action=action,
            executed=executed,
            sensors={name: readings[0, -1] for name, readings in obs.sensors.items()},
            targets={name: np.reshape(obs.privileged[name][0], -1) for name in targets},
            reward=reward,
        )


class EpisodeRecorder:
    """Writes episodes into a directory, one file each (``data/recording.py``); use it in a ``with`` block.

    A frame is one write of the operating system, checked by length and checksum when it is read: once ``add`` has
    returned, a killed process does not lose it. ``end`` flushes the file to the disk and gives it its final name; from
    then on a loss of power does not lose it either. What a killed recorder left unfinished is saved up to
    its last whole frame when the next one opens the directory. One process at a time may write there.

    Args:
        directory: made if there is none.
        spec: the robot.
        source: name of the data set.

    Attributes:
        tasks: kept episodes by task, those of earlier recorders included.
        ids: of all kept episodes.
        recovered: what was found unfinished.

    Raises:
        SpecError: the episodes there are of another robot.
        DataError: another process records there, the directory holds something else, or an episode is damaged.
        SinewError: the place cannot be written.
    """

    def __init__(self, directory: Path, spec: RobotSpec, *, source: str = "recorded") -> None:
        self.directory, self.spec, self.source = directory, spec, source
        if (directory / "store.json").exists() or (directory / "meta").exists():
            raise DataError(f"{directory}: holds a data set of another kind. Choose another place to record to.")
        self._plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(spec)))
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = WriterLock(directory / "writer.lock")
        except OSError as error:
            raise SinewError(f"{directory}: cannot be recorded to ({error.strerror}). Choose another place.") from error
        try:
            self.recovered = finish(directory)
            self.tasks: Counter[str] = Counter()
            self.ids: list[str] = []
            self._kept: list[Path] = []
            self._columns: Columns | None = None
            for path in episode_files(directory).values():
                self._note(path, read_ends(path)[0])
        except BaseException:
            self._lock.release()
            raise
        self._file: int | None = None
        self._words: dict[str, str] | None = None
        self._start = self._whole = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def num_episodes(self) -> int:
        """Episodes kept."""
        return len(self._kept)

    @property
    def frames(self) -> int:
        """Frames of the episode that is being recorded; 0 where there is none."""
        return 0 if self._file is None else (self._whole - self._start) // len(self._entry)

    @property
    def recording(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._words is not None

    def begin(self, *, instruction: str, task: str = "", id: str = "") -> None:
        """Begin an episode; its file is made with the first frame.

        Args:
            instruction: what the robot is told.
            task: name for tables; the instruction by default.
            id: name of what it begins at, unique within the data set; by default one is made.

        Raises:
            DataError: the last episode was neither ended nor discarded.
            SinewError: the disk is nearly full.
        """
        if self._words is not None:
            raise DataError(f"{self.directory}: an episode is being recorded. End or discard it first.")
        columns = columns_of(self.spec, {}, reward=False)
        per_frame = sum(np.dtype((kind, shape)).itemsize for _, kind, shape in columns)
        require_free(self.directory, int(ROOM_S * self.spec.hz * per_frame), f"another {ROOM_S:.0f} s of recording")
        self._number = max(episode_files(self.directory), default=-1) + 1
        began = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        id = id or f"{self.source}/{self._number}"
        self._words = {
            "instruction": instruction, "task": task or instruction, "source": self.source, "id": id, "began": began,
        }  # fmt: skip

    def add(self, frame: Frame) -> None:
        """Write one frame; when this returns, it is finished.

        Raises:
            DataError: it does not fit the spec or the frames before it, or holds NaN; it was not written.
            SinewError: the disk is full; all frames before it are whole.
        """
        if self._words is None:
            raise DataError(f"{self.directory}: no episode has begun. Call begin() first.")
        now = time.monotonic_ns()
        if self._file is None:
            self._open(frame)
            self._began = now
        self._fill(frame)
        self._row[TIME] = now - self._began
        # What is whole is told by this one number: whatever interrupts us, the next write goes behind it.
        self._whole += self._write(seal(self._entry, FRAME, self.frames))

    def end(
        self, *, success: bool | None, terminated: bool = False, final_state: NDArray[np.float32] | None = None
    ) -> Path | None:
        """Keep the episode: flush it to the disk and give it its name.

        Args:
            success: the instruction was fulfilled; None where nobody says, which counts as not.
            terminated: it ended by itself, not because somebody stopped it.
            final_state: (S,) after the last action.

        Returns:
            The episode's file; None where it has no frames and is not kept.

        Raises:
            SinewError: the disk is full; its whole frames are saved by the next recorder that opens the directory.
        """
        if self._file is None:
            self._words = None
            return None
        state = None if final_state is None else tuple(np.asarray(final_state, np.float32).tolist())
        ending = Ending(self.frames, success, terminated, state)
        os.ftruncate(self._file, self._whole + self._write(ending_entry(ending)))
        file, self._file, self._words = self._file, None, None
        done = commit(self._path, file)
        self._note(done, self._beginning)
        return done

    def discard(self) -> None:
        """Throw the episode away that is being recorded."""
        if self._file is not None:
            os.close(self._file)
            self._path.unlink()
        self._file, self._words = None, None

    def discard_last(self) -> str | None:
        """Throw the episode away that was kept last, whoever recorded it; return its id, None where there is none."""
        if not self._kept:
            return None
        path = self._kept.pop()
        task = read_ends(path)[0].task
        self.tasks[task] -= 1
        path.unlink()
        fsync_path(self.directory)
        return self.ids.pop()

    def close(self) -> None:
        """Let others record here. An episode that was not ended is kept, with nothing said of its success.

        Raises:
            SinewError: the disk is full; see ``end``.
        """
        try:
            if self._words is not None:
                self.end(success=None)
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._words = None
            self._lock.release()

    def _note(self, path: Path, beginning: Beginning) -> None:
        """Count an episode that is kept, if it is this robot's."""
        if beginning.spec != self._plain:
            found = [
                f"  {name}: {theirs} there, {ours} here"
                for name, theirs, ours in differences(beginning.spec, self._plain)
            ]
            raise SpecError("\n".join([f"{path}: was recorded with another robot.", *found, "Choose another place."]))
        self._columns = self._columns or beginning.columns
        self._kept.append(path)
        self.tasks[beginning.task] += 1
        self.ids.append(beginning.id)

    def _open(self, frame: Frame) -> None:
        """Make the file and write its beginning."""
        assert self._words is not None
        sizes = {name: int(np.size(values)) for name, values in frame.targets.items()}
        columns = columns_of(self.spec, sizes, reward=frame.reward is not None)
        if columns != (self._columns or columns):
            names = sorted({name for name, _, _ in columns} ^ {name for name, _, _ in self._columns or ()})
            raise self._refusal(f"has other columns than the episodes before ({', '.join(names) or 'other sizes'})")
        self._beginning = Beginning(self._plain, columns, **self._words)
        rows = np.zeros(1, self._beginning.frame)
        self._row, self._entry = rows[0], rows.view(np.uint8).data
        self._fill(frame)  # a first frame that does not fit leaves no file
        self._path = self.directory / f"episode_{self._number:06d}{OPEN}"
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SinewError(f"{self._path}: could not be made ({error.strerror}). Free some disk space.") from error
        self._start = self._whole = 0
        try:
            content = text({"schema_version": SCHEMA_VERSION, **vars(self._beginning)})
            self._start = self._whole = self._write(entry(BEGINNING, 0, content))
        except SinewError:
            self.discard()
            raise

    def _fill(self, frame: Frame) -> None:
        """Put a frame into the row that is written next.

        Raises:
            DataError: a value has another name, shape or type, or is not finite.
        """
        executed = frame.action if frame.executed is None else frame.executed
        given: dict[str, Any] = {f"images.{name}": image for name, image in frame.images.items()}
        given |= {"state": frame.state, "action": within(self.spec, frame.action), "executed": executed}
        given |= {f"targets.{name}": values for name, values in frame.targets.items()}
        given |= {f"sensors.{name}": values for name, values in frame.sensors.items()}
        given |= {} if frame.reward is None else {"reward": frame.reward}
        names = {*(self._row.dtype.names or ())} - {"header", TIME}
        if set(given) != names:
            raise self._refusal(f"has {', '.join(sorted(set(given) ^ names))} too many or too few")
        for name, value in given.items():
            kind = self._row.dtype[name]
            array = np.asarray(value)
            if array.shape != kind.shape:
                raise self._refusal(f"{name} has shape {array.shape}, {kind.shape} is wanted")
            if kind.base.kind != "f" and array.dtype != kind.base:
                raise self._refusal(f"{name} is {array.dtype}, {kind.base.name} is wanted")
            if name in ("state", "action", "executed", "reward") and not np.isfinite(array).all():
                raise self._refusal(f"{name} is {array}, finite numbers are wanted")
            self._row[name] = array

    def _refusal(self, problem: str) -> DataError:
        return DataError(
            f"{self.directory}: frame {self.frames} of episode {self._number}: {problem}. It was not written; correct "
            "the driver, or the spec."
        )

    def _write(self, content: memoryview) -> int:
        """Write an entry behind the last whole one, at once, and return its bytes; what did not fit is cut off."""
        assert self._file is not None
        reason = "no room"
        try:
            written = os.pwrite(self._file, content, self._whole)
        except OSError as error:
            written, reason = 0, error.strerror or str(error)
        if written < len(content):
            os.ftruncate(self._file, self._whole)
            raise SinewError(
                f"{self._path}: the disk takes no more ({reason}). The {self.frames} frames before are whole, and "
                f"so are the {self.num_episodes} episodes before. Free some space; recording here again saves them all."
            )
        return written


def within(spec: RobotSpec, action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an action (A,) within its bounds, two-valued parts at the nearer one; NaN stays."""
    low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
    clipped = np.clip(action, low, high)
    nearest = np.where(clipped >= (low + high) / 2, high, low)
    return np.where(np.asarray(spec.binary_mask) & np.isfinite(clipped), nearest, clipped).astype(np.float32)

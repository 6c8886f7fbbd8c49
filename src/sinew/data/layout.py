"""What a store says of itself on disk, the lines of its log, and writing so that it lasts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinew.core.errors import DataError
from sinew.core.files import read_json, write_json
from sinew.data.episode import Episode
from sinew.data.films import FilmFile

SCHEMA_VERSION = 2
"""Version 1 has neither sensors nor rewards nor JPEG; a store without them is still written as version 1."""


@dataclass(frozen=True)
class Layout:
    """What ``store.json`` says: which columns there are beside those that every store has.

    Attributes:
        targets: auxiliary labels and how many values each has, None until the first episode.
        sensors: names of the sensors that are recorded.
        reward: whether rewards are.
        jpeg: whether images are packed as JPEG.
        films: by camera, those that its images stay in.
    """

    targets: Mapping[str, int | None]
    sensors: tuple[str, ...] = ()
    reward: bool = False
    jpeg: bool = False
    films: Mapping[str, tuple[FilmFile, ...]] = field(default_factory=dict)

    def settled(self, episode: Episode) -> Layout:
        """Return the layout of a store that begins with this episode."""
        return dataclasses.replace(
            self,
            targets={name: episode.targets[name].shape[1] for name in self.targets},
            sensors=tuple(sorted(episode.sensors)),
            reward=episode.reward is not None,
        )

    def fits(self, other: Layout) -> bool:
        """Return whether the same optional columns are there."""
        return (self.sensors, self.reward) == (other.sensors, other.reward)

    def __str__(self) -> str:
        return f"sensors {', '.join(self.sensors) or 'none'} and {'rewards' if self.reward else 'no rewards'}"

    @classmethod
    def read(cls, path: Path) -> Layout:
        """Read ``store.json``.

        Raises:
            DataError: missing, broken or of another schema version.
        """
        content = read_json(path)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version not in (1, SCHEMA_VERSION):
            raise DataError(
                f"{path}: schema version {version}, this sinew reads 1 and {SCHEMA_VERSION}. "
                "Update sinew or collect again."
            )
        sensors, reward = tuple(content.get("sensors", ())), bool(content.get("reward", False))
        films = {name: tuple(FilmFile(**film) for film in found) for name, found in content.get("films", {}).items()}
        return cls(dict(content["targets"]), sensors, reward, content.get("frames", "raw") == "jpeg", films)

    def write(self, path: Path) -> None:
        """Write ``store.json``."""
        content: dict[str, Any] = {"schema_version": 1, "targets": dict(self.targets)}
        if self.sensors or self.reward or self.jpeg or self.films:
            content |= {"schema_version": SCHEMA_VERSION, "sensors": list(self.sensors), "reward": self.reward}
            content |= {"frames": "jpeg" if self.jpeg else "raw"}
        if self.films:
            content["films"] = {
                name: [dataclasses.asdict(film) for film in films] for name, films in self.films.items()
            }
        write_json(path, content)


@dataclass(frozen=True)
class Record:
    """One line of the log; the fields not described here are those of ``Episode``.

    Attributes:
        frames: T.
        offset: number of the first frame in the columns.
        crc: CRC-32 of the episode's bytes in all columns, in their order.
    """

    frames: int
    offset: int
    instruction: str
    task: str
    success: bool
    held_out: bool
    label_horizon: int | None
    source: str
    id: str
    crc: int
    terminated: bool = False
    final_state: tuple[float, ...] | None = None

    @classmethod
    def of(cls, episode: Episode, *, offset: int, crc: int) -> Record:
        """Return the line that commits an episode."""
        return cls(
            frames=episode.num_frames,
            offset=offset,
            instruction=episode.instruction,
            task=episode.task,
            success=bool(episode.success),
            held_out=bool(episode.held_out),
            label_horizon=episode.label_horizon,
            source=episode.source,
            id=episode.id,
            crc=crc,
            terminated=bool(episode.terminated),
            final_state=None if episode.final_state is None else tuple(episode.final_state.tolist()),
        )

    def line(self) -> bytes:
        """Return the line as written; what most data sets do not say is left out where they do not."""
        content = dataclasses.asdict(self)
        for name, unsaid in (("terminated", False), ("final_state", None)):
            if content[name] == unsaid:
                del content[name]
        return (json.dumps(content, ensure_ascii=False) + "\n").encode()


def read_log(path: Path) -> tuple[list[Record], list[int]]:
    """Return the records of a log's complete lines and the byte at which each line ends.

    Raises:
        DataError: a complete line is not a record, or does not begin where the one before ends.
    """
    content = path.read_bytes() if path.exists() else b""
    records: list[Record] = []
    ends: list[int] = []
    frames = position = 0
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(keepends=True)):
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: line {number + 1} is not an episode ({error}). Collect again.") from error
        if record.offset != frames or record.frames < 1:
            raise DataError(
                f"{path}: episode {number} has {record.frames} frames from {record.offset} on, but the ones before "
                f"end at {frames}. Collect again."
            )
        frames += record.frames
        position += len(line)
        records.append(record)
        ends.append(position)
    return records, ends


def extend(path: Path, position: int, parts: Sequence[memoryview]) -> None:
    """Write parts from ``position`` on and flush them to the disk.

    Raises:
        OSError: the disk is full or the file cannot be written.
    """
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.seek(position)
        for part in parts:
            view = part.cast("B") if part.nbytes else part
            while view.nbytes:
                view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())


def cut(path: Path, position: int) -> None:
    """Cut off whatever a file holds beyond ``position``, and flush."""
    if path.exists() and path.stat().st_size > position:
        with path.open("r+b") as file:
            file.truncate(position)
            os.fsync(file.fileno())

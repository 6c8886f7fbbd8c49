"""Logs of robots, MCAP and bags of ROS 1 and ROS 2, read at one rate by a map of their topics.

A data set is one log, or a directory of logs that share a map::

    demo.mcap  demo.bag  demo.db3             and beside it demo.topics.json, demo.spec.json
    demo/metadata.yaml  demo/demo_0.db3       a bag of ROS 2, or demo_0.mcap; and in it topics.json, spec.json
    demos/first.mcap  demos/second.mcap ...   and topics.json, spec.json

Each log is an episode, or a topic of the map says where episodes begin. Ticks run at the map's rate from where all
its topics are first heard to where the first of them falls silent; a tick takes of every topic the last message
that was logged not after it. A message older than the map allows is a gap, and refused. No package of ROS is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.log_file import Log, LogFile
from sinew.data.formats.log_ticks import Part, cut_in_parts
from sinew.data.formats.log_values import Message, decode_log, numbers_in, picture_in, reading_in, text_in
from sinew.data.formats.mcap_file import is_mcap, open_mcap
from sinew.data.formats.pictures import scale
from sinew.data.formats.robot import Facts, match_cameras, partial_of
from sinew.data.formats.rosbag1_file import is_rosbag1, open_rosbag1
from sinew.data.formats.rosbag2_file import is_rosbag2, open_rosbag2
from sinew.data.formats.source import range_of
from sinew.data.formats.topic_map import Reading, Values, map_file, read_map

KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], LogFile]], ...] = (
    (is_mcap, open_mcap),
    (is_rosbag1, open_rosbag1),
    (is_rosbag2, open_rosbag2),
)
"""How a file is known, and how it is opened."""
SUFFIXES = (".mcap", ".bag", ".db3")
"""Of logs in a directory, which may hold very many other files."""


@dataclass
class _Column:
    """One column of an episode while it is filled.

    Attributes:
        topic: where its messages are. use: which message each tick takes, (T,).
        take: returns the value of a message. rows: (T, ...), made with the first value.
    """

    topic: str
    use: NDArray[np.int64]
    take: Callable[[Message, str], NDArray[Any]]
    rows: NDArray[Any] | None = field(default=None)

    def filled(self) -> NDArray[Any]:
        """Return the rows; every tick has taken a message."""
        return self.rows if self.rows is not None else np.zeros((len(self.use), 0), np.float32)

    def put(self, number: int, message: Message, where: str) -> None:
        """Write the value of a message to the ticks that take it."""
        value = self.take(message, where)
        if self.rows is None:
            self.rows = np.empty((len(self.use), *value.shape), value.dtype)
        if value.shape != self.rows.shape[1:] or value.dtype != self.rows.dtype:
            raise DataError(
                f"{where}: {self.topic} is {value.dtype} of shape {value.shape} here, {self.rows.dtype} of "
                f"{self.rows.shape[1:]} elsewhere. Leave the episode out, or say names or points in topics.json."
            )
        self.rows[np.searchsorted(self.use, number) : np.searchsorted(self.use, number, "right")] = value


class Bag:
    """Reads the logs above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._groups = tuple(_groups(path))
        self._logs = tuple(Log(group[0], [_open(file) for file in group[1]]) for group in self._groups)
        if not self._logs:
            raise DataError(f"{path}: there is no MCAP file, no .bag and no .db3 here.")
        self.map = read_map(path, self._logs[0])
        for log in self._logs[1:]:
            read_map(path, log)
        self._parts = tuple(part for log in self._logs for part in cut_in_parts(log, self.map))
        self.facts = self._facts()
        self.lengths = tuple(len(part.ticks) for part in self._parts)
        self.instructions = tuple(self._sentence(part) for part in self._parts)
        self.tasks = self.instructions
        self.judged = self.map.success is not None
        self.unread = tuple(sorted({topic for log in self._logs for topic in log.channels} - {*self.map.topics}))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a path."""
        return (Bag, (self.path,))

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether this is a log, or a directory of logs."""
        return bool(_groups(path))

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``NAME.spec.json`` beside a file, ``spec.json`` in a directory."""
        return path / "spec.json" if path.is_dir() else path.with_suffix(".spec.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """The logs and the map of their topics."""
        return (*(file for _, files in self._groups for file in files), map_file(self.path))

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        rows = {
            f"{part.where}: action": self._read(part, {"action": self.map.action})["action"] for part in self._parts
        }
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        part = self._parts[number]
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.map.cameras))
        absent = [name for name in spec.sensors if name not in self.map.sensors]
        if absent:
            raise DataError(
                f"{self.path}: topics.json has no sensor {', '.join(absent)}. Add it, or correct spec.json."
            )
        wanted = {"action": self.map.action} | ({"state": self.map.state} if spec.state else {})
        columns: dict[str, _Column] = {}
        for name, camera in spec.cameras.items():
            topic, found = self.map.cameras[cameras[name]], self.facts.cameras[cameras[name]]
            take = _picture(found, (camera.height, camera.width))
            columns[f"images.{name}"] = _Column(topic, part.before(topic), take)
        for name in spec.sensors:
            item = self.map.sensors[name]
            columns[f"sensors.{name}"] = _Column(item.topic, part.before(item.topic), _sensor(item))
        rows = self._read(part, wanted, columns)
        action = rows["action"]
        return Episode(
            spec=spec,
            images={name: rows[f"images.{name}"] for name in spec.cameras},
            state=rows.get("state", np.zeros((len(part.ticks), 0), np.float32)),
            action=action,
            executed=action,
            instruction=self.instructions[number],
            task=self.tasks[number],
            success=self._success(part),
            source=self.path.resolve().stem,
            id=part.name,
            sensors={name: rows[f"sensors.{name}"] for name in spec.sensors},
        )

    def _read(
        self, part: Part, numbers: Mapping[str, Sequence[Values]], columns: Mapping[str, _Column] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return columns of an episode, (T, ...): of numbers, put together from parts, and others."""
        parts = {name: [_numbers(part, item) for item in items] for name, items in numbers.items()}
        every = [column for items in parts.values() for column in items] + [*(columns or {}).values()]
        wanted = {
            topic: np.unique(np.concatenate([column.use for column in every if column.topic == topic]))
            for topic in {column.topic: None for column in every}
        }
        for topic, number, content in part.log.read(wanted):
            where = f"{part.where}: {topic}, message {number}"
            message = decode_log(part.log.channels[topic], content, where)
            for column in every:
                if column.topic == topic:
                    column.put(number, message, where)
        joined = {name: np.concatenate([item.filled() for item in items], axis=1) for name, items in parts.items()}
        return joined | {name: column.filled() for name, column in (columns or {}).items()}

    def _facts(self) -> Facts:
        part = self._parts[0]
        cameras = {name: picture_in(*self._first(part, topic)).shape[:2] for name, topic in self.map.cameras.items()}
        sensors: dict[str, Any] = {}
        for name, item in self.map.sensors.items():
            reading = _sensor(item)(*self._first(part, item.topic))
            shape = {"shape": list(reading.shape), "dtype": reading.dtype.name}
            sensors[name] = {**shape, "unit": item.unit, "hz": self.map.hz}
        said: dict[str, Any] = {"hz": self.map.hz, "sensors": sensors}
        sizes: dict[str, int] = {}
        for name, items in (("state", self.map.state), ("action", self.map.action)):
            sizes[name] = self._size(part, items)
            names = [joint for item in items for joint in item.names]
            if names and len(names) == sizes[name]:
                said[name] = names
        return Facts(
            action_size=sizes["action"],
            state_size=sizes["state"],
            cameras={name: (int(height), int(width)) for name, (height, width) in cameras.items()},
            said=partial_of(said, str(map_file(self.path))),
        )

    def _size(self, part: Part, items: Sequence[Values]) -> int:
        """Return how many values the parts of a column have together."""
        return sum(
            len(numbers_in(message, item.fields, item.names, where))
            for item in items
            for message, where in [self._first(part, item.topic)]
        )

    def _first(self, part: Part, topic: str) -> tuple[Message, str]:
        """Return the message of a topic at the first tick, and where it is."""
        return next(self._messages(part.log, topic, part.before(topic)[:1]))

    def _messages(self, log: Log, topic: str, numbers: NDArray[np.int64]) -> Iterator[tuple[Message, str]]:
        for _, number, content in log.read({topic: numbers}):
            where = f"{log.path}: {topic}, message {number}"
            yield decode_log(log.channels[topic], content, where), where

    def _sentence(self, part: Part) -> str:
        """Return the sentence said during an episode, or the last one before it."""
        topic = self.map.instruction
        if topic is None:
            return ""
        numbers = part.during(topic)
        if not len(numbers):
            numbers = part.last(topic)
        said = {
            str(text_in(message, "data", where)).strip() for message, where in self._messages(part.log, topic, numbers)
        }
        if len(said) > 1:
            raise DataError(
                f"{part.where}: the instruction changes ({'; '.join(sorted(said))}). Split the episode there."
            )
        return said.pop() if said else ""

    def _success(self, part: Part) -> bool:
        """Return the last word on success during an episode; without a topic all succeed."""
        if self.map.success is None:
            return True
        numbers = part.during(self.map.success)[-1:]
        if not len(numbers):
            raise DataError(
                f"{part.where}: nothing on {self.map.success} says whether it succeeded. Leave it out, or take success "
                "out of topics.json, so that all count as successes."
            )
        message, where = next(self._messages(part.log, self.map.success, numbers))
        return bool(text_in(message, "data", where))


def _numbers(part: Part, item: Values) -> _Column:
    use = part.after(item.topic) if item.after else part.before(item.topic)
    return _Column(item.topic, use, lambda message, where: numbers_in(message, item.fields, item.names, where))


def _picture(found: tuple[int, int], size: tuple[int, int]) -> Callable[[Message, str], NDArray[Any]]:
    def take(message: Message, where: str) -> NDArray[Any]:
        picture = picture_in(message, where)
        if picture.shape[:2] != found:
            raise DataError(
                f"{where}: is {picture.shape[0]} x {picture.shape[1]} px, the first image of the topic {found[0]} x "
                f"{found[1]}. Keep one data set for each size."
            )
        return scale(picture, size).transpose(2, 0, 1)

    return take


def _sensor(item: Reading) -> Callable[[Message, str], NDArray[Any]]:
    return lambda message, where: reading_in(message, item.fields, item.points, where)


def _groups(path: Path) -> list[tuple[Path, list[Path]]]:
    """Return the logs at a path: each with its files."""
    if not path.is_dir():
        return [(path, [path])] if _is_log(path) else []
    inside = sorted(path.iterdir())
    files = [file for file in inside if file.suffix in SUFFIXES and _is_log(file)]
    if (path / "metadata.yaml").is_file():
        return [(path, files)] if files else []
    inside = [
        group for folder in sorted(path.iterdir()) if (folder / "metadata.yaml").is_file() for group in _groups(folder)
    ]
    return [*((file, [file]) for file in files), *inside]


def _is_log(path: Path) -> bool:
    return any(known(path) for known, _ in KINDS)


def _open(path: Path) -> LogFile:
    return next(opener(path) for known, opener in KINDS if known(path))

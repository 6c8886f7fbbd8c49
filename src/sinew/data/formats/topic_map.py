"""What the topics of a log mean: which is a camera, which are state and action, at which rate they are read.

A log names its topics freely, so its owner writes the map beside it: ``NAME.topics.json`` beside ``NAME.mcap``,
``NAME.bag`` or ``NAME.db3``, ``topics.json`` in a directory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinew.core.config import from_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import read_json
from sinew.data.formats.log_file import Log


@dataclass(frozen=True)
class Values:
    """Numbers of the messages of a topic.

    Attributes:
        topic: its name.
        fields: where they stand in a message, such as ``position`` or ``pose.position``; none means all numbers of
            the message in their order, its header aside.
        names: joints to take, found by the ``name`` that stands in the message; none means all in their order.
        after: take the first message at or after a tick instead of the last one before. For actions that are sent
            in answer to what was just seen.
    """

    topic: str
    fields: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    after: bool = False


@dataclass(frozen=True)
class Reading:
    """A sensor: numbers, a depth image or a point cloud.

    Attributes:
        topic: its name.
        unit: of the readings.
        fields: numbers of a message, or columns of a point cloud such as x, y, z; none means all.
        points: rows that every reading is padded to with NaN; needed for point clouds and lists of varying length.
    """

    topic: str
    unit: str
    fields: tuple[str, ...] = ()
    points: int | None = None


@dataclass(frozen=True)
class Split:
    """A topic that says where episodes begin and end within a log.

    Attributes:
        topic: its name.
        field: where the word stands in a message.
        begin: the word that begins an episode; None: every message does.
        end: the word that ends one; without it an episode goes on to the next.
    """

    topic: str
    field: str = "data"
    begin: str | int | bool | None = None
    end: str | int | bool | None = None


@dataclass(frozen=True)
class TopicMap:
    """The content of a topics.json.

    Attributes:
        hz: rate at which the log is read [1/s]; each tick takes of every topic the last message not after it.
        action: parts that the action is put together from.
        state: parts that the state is put together from.
        cameras: topics of images by name of the camera.
        sensors: by name.
        instruction: topic of the sentence. success: topic of whether the episode succeeded, the last message counts.
        split: where episodes begin; None: each log is one.
        stale_s: how old a message may be at a tick [s]; older ones are a gap, and refused.
    """

    hz: float
    action: tuple[Values, ...]
    state: tuple[Values, ...] = ()
    cameras: Mapping[str, str] = field(default_factory=dict)
    sensors: Mapping[str, Reading] = field(default_factory=dict)
    instruction: str | None = None
    success: str | None = None
    split: Split | None = None
    stale_s: float = 0.5

    @property
    def moving(self) -> tuple[str, ...]:
        """Topics that every tick needs a message of."""
        parts = [part.topic for part in (*self.action, *self.state)]
        return tuple(dict.fromkeys([*self.cameras.values(), *parts, *(item.topic for item in self.sensors.values())]))

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are read."""
        rare = [name for name in (self.instruction, self.success, self.split and self.split.topic) if name]
        return tuple(dict.fromkeys([*self.moving, *rare]))


def map_file(path: Path) -> Path:
    """Return where the map of a log, or of a directory of logs, lies."""
    return path / "topics.json" if path.is_dir() else path.with_suffix(".topics.json")


def read_map(path: Path, log: Log) -> TopicMap:
    """Read the map of a log and check it against one.

    Args:
        path: the log, or the directory of logs.
        log: the first of them.

    Raises:
        DataError: there is none, it is not JSON or does not fit; the message lists the topics and what to write.
    """
    file = map_file(path)
    if not file.exists():
        raise DataError(
            f"{path}: nothing says what its topics mean, and that will not be guessed. It holds\n{_listed(log)}\n"
            f"Write {file}, the topics that matter in their places (docs/formats.md has every field):\n{_template(log)}"
        )
    try:
        found = from_dict(TopicMap, read_json(file), str(file))
    except (ConfigError, DataError) as error:
        raise DataError(f"{path}: {error}") from error
    if not (math.isfinite(found.hz) and 0 < found.hz <= 1000 and 0 < found.stale_s < math.inf and found.action):
        raise DataError(f"{path}: {file.name}: hz from above 0 to 1000, stale_s above 0 and an action are needed.")
    if found.instruction == "":
        raise DataError(f"{path}: {file.name}: the instruction's topic has no name. Name it, or leave it out.")
    absent = [topic for topic in found.topics if topic not in log.channels]
    if absent:
        listed = f"{log.path.name} has no topic {', '.join(absent)}. It holds\n{_listed(log)}"
        raise DataError(f"{path}: {file.name}: {listed}")
    for topic in found.topics:
        if topic in log.mixed:
            raise DataError(
                f"{log.path}: {topic} carries messages of two types or definitions, {log.mixed[topic]}. "
                "Record them under different names."
            )
    return found


def _listed(log: Log) -> str:
    lines: list[str] = []
    for topic, channel in sorted(log.channels.items()):
        stamps = log.stamps(topic)
        span = (int(stamps[-1]) - int(stamps[0])) / 1e9 if len(stamps) else 0.0
        rate = f", {(len(stamps) - 1) / span:.3g} Hz" if span > 0 else ""
        lines.append(f"  {topic}  {channel.kind or channel.encoding}  {len(stamps)} messages{rate}")
    return "\n".join(lines)


def _template(log: Log) -> str:
    images = sorted(topic for topic, channel in log.channels.items() if channel.kind.endswith("Image"))
    names = {topic.strip("/").partition("/")[0]: topic for topic in images}
    content: dict[str, Any] = {
        "hz": "?",
        "cameras": names if len(names) == len(images) else {f"camera{n}": topic for n, topic in enumerate(images)},
        "state": [{"topic": "/?", "fields": ["?"]}],
        "action": [{"topic": "/?", "fields": ["?"]}],
        "instruction": "/?",
        "success": "/?",
    }
    rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
    return "{\n" + ",\n".join(rows) + "\n}"

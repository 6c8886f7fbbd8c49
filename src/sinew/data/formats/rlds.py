"""RLDS data sets as TensorFlow Datasets keeps them, such as Open X-Embodiment, read without TensorFlow.

A directory, or one with a single such directory of a version inside::

    dataset_info.json                          name, splits and the number of records in each shard
    features.json                              columns with shapes and types
    NAME-SPLIT.tfrecord-00000-of-00016         an episode a record (or .array_record-, with the extra rlds)
    spec.json, columns.json                    the rest of the RobotSpec, and other columns than the usual; ours

Read are ``steps/action`` (or the floating-point parts under it, side by side), ``steps/observation/state``, images of
three 8-bit channels, ``steps/reward``, ``steps/is_terminal``, the sentence under one of ``SENTENCES``, ``success`` of
the episode's metadata, and the columns that the spec names as sensors. Splits other than train are held out. Opening
looks at every record's table of contents to count its steps; contents are read, and checked against their CRC, with
the episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.files import read_json
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats import columns as choose
from sinew.data.formats.pictures import scale
from sinew.data.formats.records import Record, read, scan
from sinew.data.formats.rlds_features import Leaf, leaves, numbers_of, pictures_of, readings_of, steps_of
from sinew.data.formats.rlds_shards import FEATURES, INFO, find_root, list_shards, roots_in
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras
from sinew.data.formats.source import numbers, range_of
from sinew.data.formats.tfexample import Feature, parse

STATES = ("observation/state", "observation/proprio", "observation/robot_state")
SENTENCES = (
    "language_instruction",
    "observation/natural_language_instruction",
    "observation/language_instruction",
    "natural_language_instruction",
)
METADATA = "episode_metadata/"
INFLATION = 2000
"""How many times the bytes of its record an episode's images may be; a PNG of one colour reaches about 1000."""


@dataclass(frozen=True)
class Entry:
    """One episode in the table of contents."""

    record: Record
    split: str
    steps: int
    instruction: str

    @property
    def id(self) -> str:
        """Split, shard and number in it."""
        return f"{self.split}/{self.record.path.name.rpartition('-of-')[0][-5:]}/{self.record.number}"


class Rlds:
    """Reads the layout above; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = find_root(path)
        self.columns = choose.read_columns(self.spec_file(path))
        tree = read_json(self.root / FEATURES)
        where = str(self.root / FEATURES)
        self.leaves = {leaf.name: leaf for leaf in leaves(steps_of(tree, where), where)}
        inside = [leaf for leaf in leaves(tree, where) if leaf.name.startswith(METADATA)]
        self.metadata = {leaf.name: leaf for leaf in inside}
        self._sizes = {name: leaf.size for name, leaf in self.leaves.items() if leaf.is_vector}
        self._action, self._state = self._parts("action"), self._parts("state")
        self._sentence, self._success = self._find_sentence(), self._find_success()
        self.shards = tuple(list_shards(self.root))
        self.entries = tuple(self._index())
        if not self.entries:
            raise DataError(f"{path}: holds no episodes. Restore its shards.")
        last = int(self.columns.drop_last)
        self.lengths = tuple(entry.steps - last for entry in self.entries)
        self.instructions = tuple(entry.instruction for entry in self.entries)
        self.tasks = self.instructions
        self.judged = self._success is not None
        self.held_out = frozenset(number for number, entry in enumerate(self.entries) if entry.split != "train")
        self.facts = self._facts()
        self.unread = self._unread()

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory, or one inside it, holds a features.json and a dataset_info.json."""
        return bool(roots_in(path))

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory."""
        return path / "spec.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """The two tables, the shards and the choice of columns."""
        own = choose.columns_file(self.spec_file(self.path))
        tables = (self.root / INFO, self.root / FEATURES, *((own,) if own.exists() else ()))
        return (*tables, *(path for _, path, _ in self.shards))

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each; reads all records."""
        rows: dict[str, NDArray[np.float32]] = {}
        for entry, length in zip(self.entries, self.lengths, strict=True):
            example = parse(read(entry.record), entry.record.where)
            actions = self._gather(example, self._action, entry, floating=True)[:length]
            rows[f"{entry.record.where}: action"] = np.stack([np.fmin.reduce(actions), np.fmax.reduce(actions)])
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        entry, length = self.entries[number], self.lengths[number]
        where = entry.record.where
        if length == 0:
            raise DataError(f"{where}: has no frames. Leave empty episodes out.")
        example = parse(read(entry.record), where)
        action = self._gather(example, self._action, entry, floating=True)[:length]
        whole = np.zeros((entry.steps, 0), np.float32)
        if spec.state:
            whole = self._gather(example, self._state, entry, floating=False)
        self._check_sentence(example, entry)
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.facts.cameras))
        rewards = self._scalars(example, "reward", entry)
        terminal = self._scalars(example, "is_terminal", entry)
        return Episode(
            spec=spec,
            images={
                name: self._images(example, cameras[name], entry, (camera.height, camera.width))[:length]
                for name, camera in spec.cameras.items()
            },
            state=whole[:length],
            action=action,
            executed=action,
            instruction=entry.instruction,
            task=entry.instruction,
            success=self._succeeded(example, entry),
            source=self.path.resolve().name,
            id=entry.id,
            held_out=entry.split != "train",
            sensors={
                name: choose.as_reading(self._readings(example, name, entry)[:length], sensor, f"{where}: {name}")
                for name, sensor in spec.sensors.items()
            },
            reward=None if rewards is None else rewards[:length],
            terminated=terminal is not None and bool(terminal[-1]),
            final_state=whole[length] if self.columns.drop_last and spec.state else None,
        )

    def _parts(self, field: str) -> tuple[choose.Part, ...]:
        """Return the columns of state or action: chosen by the owner, or the usual ones."""
        where = str(choose.columns_file(self.spec_file(self.path)))
        chosen = self.columns.action if field == "action" else self.columns.state
        if chosen is not None:
            return choose.parts_of(chosen, self._sizes, f"{where}: {field}")
        if field == "state":
            return choose.parts_of([name for name in STATES if name in self._sizes][:1], self._sizes, where)
        parts = [name for name in self._sizes if name.startswith("action/") and "float" in self.leaves[name].dtype]
        usual = ["action"] if "action" in self._sizes else parts
        if not usual:
            raise DataError(
                f"{self.root / FEATURES}: there is no action of numbers; columns are {', '.join(self.leaves)}. "
                f'Write {where} with the ones that are: {{"action": ["..."]}}.'
            )
        return choose.parts_of(usual, self._sizes, where)

    def _find_sentence(self) -> str | None:
        texts = [name for name, leaf in {**self.leaves, **self.metadata}.items() if leaf.kind == "text"]
        usual = (*SENTENCES, f"{METADATA}language_instruction")
        return self._chosen(self.columns.instruction, texts, "instruction", usual)

    def _find_success(self) -> str | None:
        flags = {**self.leaves, **self.metadata}
        names = [name for name, leaf in flags.items() if leaf.kind == "tensor" and leaf.size == 1]
        return self._chosen(self.columns.success, names, "success", (f"{METADATA}success",))

    def _chosen(self, name: str | None, there: list[str], field: str, usual: tuple[str, ...]) -> str | None:
        if name is not None and name not in there:
            place = choose.columns_file(self.spec_file(self.path))
            raise DataError(f"{place}: {field}: no column {name} that could be it; there are {', '.join(there)}.")
        return name or next((one for one in usual if one in there), None)

    def _index(self) -> Iterator[Entry]:
        for split, path, count in self.shards:
            found = 0
            for record, content in scan(path):
                found += 1
                example = parse(content, record.where)
                yield Entry(record, split, self._steps(example, record.where), self._text(example, record.where))
            if found != count:
                raise DataError(f"{path}: holds {found} records, {INFO} says {count}. Restore the file from a copy.")

    def _steps(self, example: Mapping[str, Feature], where: str) -> int:
        """Return how many steps an episode has, by its smallest column."""
        usable = [leaf for leaf in self.leaves.values() if leaf.kind != "other" and leaf.size]
        small = min(usable, key=lambda leaf: (leaf.kind != "tensor", leaf.encoding != "none", leaf.size))
        count = self._feature(example, f"steps/{small.name}", where).count()
        size = small.size if small.kind == "tensor" and small.encoding == "none" else 1
        if count % size:
            raise DataError(f"{where}: {small.name} has {count} values, not a multiple of {size}. Restore the file.")
        if count == 0:
            raise DataError(f"{where}: has no frames. Leave empty episodes out.")
        return count // size

    def _text(self, example: Mapping[str, Feature], where: str) -> str:
        if self._sentence is None:
            return ""
        content = next(self._feature(example, self._path(self._sentence), where).contents(), memoryview(b""))
        try:
            return bytes(content).decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: {self._sentence} is not UTF-8 ({error}).") from error

    def _path(self, name: str) -> str:
        return name if name.startswith(METADATA) else f"steps/{name}"

    def _feature(self, example: Mapping[str, Feature], name: str, where: str) -> Feature:
        if name not in example:
            raise DataError(f"{where}: has no {name}, features.json says it has. Restore the file from a copy.")
        return example[name]

    def _check_sentence(self, example: Mapping[str, Feature], entry: Entry) -> None:
        if self._sentence is None or self._sentence.startswith(METADATA):
            return
        contents = self._feature(example, f"steps/{self._sentence}", entry.record.where).contents()
        first = next(contents, None)
        for frame, content in enumerate(contents, 1):
            if content != first:
                raise DataError(
                    f"{entry.record.where}, frame {frame}: the instruction changes from {entry.instruction!r} to "
                    f"{bytes(content)!r}. Split the episode there."
                )

    def _facts(self) -> Facts:
        state, action = self._state, self._action
        cameras = {leaf.name: leaf for leaf in self.leaves.values() if leaf.is_camera}
        short = {name.rpartition("/")[2]: name for name in cameras}
        self._cameras = short if len(short) == len(cameras) else {name: name for name in cameras}
        return Facts(
            action_size=choose.size_of_parts(action),
            state_size=choose.size_of_parts(state),
            cameras={name: self._camera_size(cameras[leaf]) for name, leaf in self._cameras.items()},
            said=PartialSpec(
                state=choose.names_of_parts(state, self._sizes), action=choose.names_of_parts(action, self._sizes)
            ),
        )

    def _camera_size(self, leaf: Leaf) -> tuple[int, int]:
        """Return (height, width) of a camera; where features.json leaves it open, of the first image."""
        if -1 not in leaf.shape:
            return leaf.shape[0], leaf.shape[1]
        record = self.entries[0].record
        example = parse(read(record), record.where)
        feature = self._feature(example, f"steps/{leaf.name}", record.where)
        picture = next(pictures_of(feature, leaf, self.entries[0].steps))
        return picture.shape[0], picture.shape[1]

    def _unread(self) -> tuple[str, ...]:
        known = {part.column for part in (*self._action, *self._state)} | set(self._cameras.values())
        known |= {"is_first", "is_last", "is_terminal", "reward", self._sentence, self._success}
        return tuple(name for name in (*self.leaves, *self.metadata) if name not in known)

    def _gather(
        self, example: Mapping[str, Feature], parts: tuple[choose.Part, ...], entry: Entry, *, floating: bool
    ) -> NDArray[np.float32]:
        where = entry.record.where

        def column(name: str) -> NDArray[np.float32]:
            values = numbers_of(self._feature(example, f"steps/{name}", where), self.leaves[name], entry.steps)
            return numbers(values, f"{where}: {name}", floating=floating)

        return choose.gather(parts, column, where)

    def _scalars(self, example: Mapping[str, Feature], name: str, entry: Entry) -> NDArray[np.float32] | None:
        leaf = self.leaves.get(name)
        if leaf is None or leaf.kind != "tensor" or leaf.size != 1:
            return None
        feature = self._feature(example, f"steps/{name}", entry.record.where)
        return numbers_of(feature, leaf, entry.steps).reshape(-1).astype(np.float32)

    def _succeeded(self, example: Mapping[str, Feature], entry: Entry) -> bool:
        if self._success is None:
            return True
        feature = self._feature(example, self._path(self._success), entry.record.where)
        inside = self._success.startswith(METADATA)
        leaf = self.metadata[self._success] if inside else self.leaves[self._success]
        return bool((numbers_of(feature, leaf, 1 if inside else entry.steps) > 0).any())

    def _images(
        self, example: Mapping[str, Feature], camera: str, entry: Entry, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Return a camera's images scaled, (T, 3, h, w)."""
        where = f"{entry.record.where}: {camera}"
        if entry.steps * 3 * size[0] * size[1] > INFLATION * entry.record.size + 2**20:
            raise DataError(
                f"{where}: {entry.steps} images of {size[0]} x {size[1]} px cannot lie in a record of "
                f"{entry.record.size} bytes. Restore the file from a copy."
            )
        leaf = self.leaves[self._cameras[camera]]
        feature = self._feature(example, f"steps/{leaf.name}", entry.record.where)
        out = np.empty((entry.steps, 3, *size), np.uint8)
        for number, picture in enumerate(pictures_of(feature, leaf, entry.steps)):
            if picture.shape[:2] != self.facts.cameras[camera]:
                found, wanted = picture.shape, self.facts.cameras[camera]
                raise DataError(
                    f"{where}, frame {number}: is {found[0]} x {found[1]} px, the first image of the data set is "
                    f"{wanted[0]} x {wanted[1]}. Keep one data set for each size."
                )
            out[number] = scale(self.columns.upright(camera, picture), size).transpose(2, 0, 1)
        return out

    def _readings(self, example: Mapping[str, Feature], name: str, entry: Entry) -> NDArray[Any]:
        """Return the column that a sensor of the spec means, by its path or the last word of it."""
        names = [path for path in self.leaves if path == name or path.rpartition("/")[2] == name]
        if len(names) != 1 or self.leaves[names[0]].kind not in ("tensor", "image"):
            raise DataError(
                f"{self.path}: the spec's sensor {name} is {' or '.join(names) or 'no column'}; one column of numbers "
                f"is needed. There are: {', '.join(self.leaves)}."
            )
        leaf = self.leaves[names[0]]
        feature = self._feature(example, f"steps/{leaf.name}", entry.record.where)
        return (readings_of if leaf.kind == "image" else numbers_of)(feature, leaf, entry.steps)

"""Minari data sets: episodes of a Gymnasium environment in one HDF5 file.

A directory::

    data/metadata.json      spaces as text, counts, id of the environment
    data/main_data.hdf5     episode_<i>/{observations, actions, rewards, terminations, truncations, infos}

Observations have one more row than there are actions; of it the state is kept as the episode's final one. Groups of
observations are read by their parts: bytes of shape (h, w, 3) are cameras (JPEG or raw), text is the instruction,
single numbers and vectors are together the state, in the order of their names. What the spec names as sensors is read
as such. A ``columns.json`` chooses other parts for state and action. Where ``infos/success`` holds, it succeeded.

What Minari has no place for lies in the metadata, under ``sinew``, and in attributes of the episodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.files import read_json
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.columns import (
    Part,
    as_reading,
    gather,
    names_of_parts,
    parts_of,
    read_columns,
    size_of_parts,
)
from sinew.data.formats.hdf5_file import array_in, opened, values_in
from sinew.data.formats.minari_space import Leaf, bounds, leaves, parse_space
from sinew.data.formats.minari_write import FILLED, MAIN, METADATA, OURS, write_minari
from sinew.data.formats.pictures import decode, decode_reading, scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras, partial_of
from sinew.data.formats.source import (
    RAW,
    check_lengths,
    check_sensors,
    numbered,
    numbers,
    range_of,
)

GROUP = re.compile(r"episode_(\d+)")
CAMERA = "camera"
"""What the only observation is called where it is images."""


class Minari:
    """Reads and writes the layout above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = _place(path) or path
        self._file = self._place / MAIN
        self.metadata = _metadata(self._place / METADATA)
        with opened(self._file) as file:
            found = {int(match[1]): str(name) for name in file if (match := GROUP.fullmatch(str(name)))}
            self.names = tuple(found[number] for number in sorted(found))
            if len(self.names) != self.metadata["total_episodes"] or not self.names:
                raise DataError(
                    f"{self._file}: holds {len(self.names)} episodes, {METADATA} counts "
                    f"{self.metadata['total_episodes']}. It may have been cut off; restore both from a copy."
                )
            first = file[self.names[0]]
            self._observed = self._leaves(first, "observations")
            self._acted = self._leaves(first, "actions")
            self.judged = all("infos/success" in file[name] for name in self.names)
            self.lengths = tuple(self._length(file[name], name) for name in self.names)
            self.instructions = tuple(self._instruction(file[name], name) for name in self.names)
            self.tasks = tuple(
                str(file[name].attrs.get("task", text))
                for name, text in zip(self.names, self.instructions, strict=True)
            )
            infos = first.get("infos", {})
            self.unread = tuple(f"infos/{name}" for name in infos if name != "success")
        sensors = self._ours().sensors or {}
        self.unread += tuple(leaf.place for leaf in self._observed if leaf.role == "other" and leaf.name not in sensors)
        cameras = [leaf for leaf in self._observed if leaf.role == "camera" and leaf.name not in sensors]
        self._cameras = {leaf.name or CAMERA: leaf for leaf in cameras}
        self._parts = self._choose()
        self.facts = self._facts()

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory holds Minari's two files, or its data folder does."""
        return _place(path) is not None

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory."""
        return path / "spec.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """Metadata and data."""
        return (self._place / METADATA, self._file)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        with opened(self._file) as file:
            rows = {
                f"{self._file}: {name}: actions": self._columns(file[name], name, "action", length)
                for name, length in zip(self.names, self.lengths, strict=True)
            }
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        name, length = self.names[number], self.lengths[number]
        where = f"{self._file}: {name}"
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self._cameras))
        readable = {leaf.name: leaf for leaf in self._observed if leaf.name}
        check_sensors(str(self.path), spec, readable)
        with opened(self._file, name) as file:
            group = file[name]
            filled = _filled(group, where)
            action = self._columns(group, name, "action", length)
            state = np.zeros((length + 1, 0), np.float32)
            if spec.state:
                state = self._columns(group, name, "state", length)
            images = {
                camera: self._images(group, self._cameras[key], where, length, spec.cameras[camera])
                for camera, key in cameras.items()
            }
            sensors = {
                key: as_reading(self._rows(group, readable[key], where, length)[:length], sensor, f"{where}: {key}")
                for key, sensor in spec.sensors.items()
            }
            reward = numbers(values_in(group, "rewards", where), f"{where}: rewards", floating=False)[:, 0]
            ended = bool(np.asarray(values_in(group, "terminations", where)).reshape(-1)[-1:].any())
            success = bool(values_in(group, "infos/success", where).any()) if self.judged else True
        final = state[length] if len(state) > length and spec.state and "final_state" not in filled else None
        return Episode(
            spec=spec,
            images=images,
            state=state[:length],
            action=action,
            executed=action,
            instruction=self.instructions[number],
            task=self.tasks[number],
            success=success,
            source=self.path.name,
            id=name,
            sensors=sensors,
            reward=None if "reward" in filled else reward,
            terminated=ended,
            final_state=final,
        )

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str = "image",
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes to a new directory."""
        if storage not in Minari.storages:
            raise DataError(f"{storage}: Minari holds images as arrays only; ask for image storage, or for lerobot.")
        write_minari(path, episodes, on_episode=on_episode)

    def _leaves(self, group: Any, field: str) -> tuple[Leaf, ...]:  # noqa: ANN401  (h5py has no types)
        where = f"{self._file}: {self.names[0]}"
        if field not in group:
            raise DataError(f"{where} has no {field}. Restore the file.")
        space = parse_space(self.metadata.get(f"{field[:-1]}_space"), f"{self._place / METADATA}: {field[:-1]}_space")
        return tuple(leaves(group[field], space, field, jpeg=bool(self.metadata.get("jpeg_encoding", True))))

    def _choose(self) -> dict[str, tuple[Part, ...]]:
        """Return of which columns state and action consist."""
        spec_file = self.spec_file(self.path)
        chosen, ours = read_columns(spec_file), self._ours()
        parts: dict[str, tuple[Part, ...]] = {}
        for field, found in (("state", self._observed), ("action", self._acted)):
            known = {leaf.name or field: leaf.size for leaf in found if leaf.role == "vector" and leaf.size}
            default = [name for name in known if name not in (ours.sensors or {})]
            names: tuple[str, ...] | None = getattr(chosen, field)
            parts[field] = parts_of(default if names is None else names, known, f"{spec_file.parent}: {field}")
        if not parts["action"]:
            raise DataError(f"{self._file}: {self.names[0]}: actions hold no vector of numbers. Give a columns.json.")
        return parts

    def _ours(self) -> PartialSpec:
        return partial_of(self.metadata.get(OURS, {}), f"{self._place / METADATA}: {OURS}")

    def _facts(self) -> Facts:
        said: dict[str, Any] = {"embodiment": _environment(self.metadata)}
        for field, parts in self._parts.items():
            found = self._observed if field == "state" else self._acted
            known = {leaf.name or field: leaf.size for leaf in found}
            names = names_of_parts(parts, known) or numbered(
                "observation" if field == "state" else "action", size_of_parts(parts)
            )
            said |= {field: names, f"{field}_units": (RAW,) * len(names)}
        limits = dict(self._limits())
        if all(part.column in limits for part in self._parts["action"]):
            for side, field in enumerate(("low", "high")):
                said[field] = tuple(
                    value
                    for part in self._parts["action"]
                    for value in limits[part.column][side][part.first : part.end]
                )
        known = partial_of({name: value for name, value in said.items() if value}, str(self._place / METADATA))
        return Facts(
            action_size=size_of_parts(self._parts["action"]),
            state_size=size_of_parts(self._parts["state"]),
            cameras={name: _size(leaf) for name, leaf in self._cameras.items()},
            said=self._ours().over(known),
        )

    def _limits(self) -> Iterable[tuple[str, tuple[list[float], list[float]]]]:
        space = parse_space(self.metadata.get("action_space"), f"{self._place / METADATA}: action_space")
        for place, low, high in bounds(space, "actions"):
            yield place.partition("/")[2].replace("/", ".") or "action", (low, high)

    def _columns(self, group: Any, name: str, field: str, length: int) -> NDArray[np.float32]:  # noqa: ANN401
        where = f"{self._file}: {name}"
        found = {leaf.name or field: leaf for leaf in (self._observed if field == "state" else self._acted)}

        def read(column: str) -> NDArray[np.float32]:
            values = self._rows(group, found[column], where, length)
            return numbers(values, f"{where}: {found[column].place}", floating=field == "action")

        parts = self._parts[field]
        values = gather(parts, read) if parts else np.zeros((length, 0), np.float32)
        return values if field == "state" else values[:length]

    def _rows(self, group: Any, leaf: Leaf, where: str, length: int) -> NDArray[Any]:  # noqa: ANN401
        """Return an array of an episode, (T + 1, ...) or (T, ...)."""
        array = array_in(group, leaf.place, where)
        if not array.shape or array.shape[0] not in (length, length + 1):
            raise DataError(
                f"{where}: {leaf.place} has shape {array.shape}, {length} or {length + 1} rows are needed. Restore it."
            )
        if leaf.jpeg:
            contents = [np.asarray(item, np.uint8).tobytes() for item in array]
            return np.stack(
                [decode_reading(item, f"{where}: {leaf.place}, frame {tick}") for tick, item in enumerate(contents)]
            )
        if array.shape[1:] != leaf.shape:
            raise DataError(
                f"{where}: {leaf.place} has shape {array.shape[1:]} a frame, {leaf.shape} in {self.names[0]}. "
                "Keep one data set for each shape."
            )
        return np.asarray(array)

    def _images(
        self,
        group: Any,  # noqa: ANN401
        leaf: Leaf,
        where: str,
        length: int,
        camera: CameraSpec,
    ) -> NDArray[np.uint8]:
        """Return a camera's images scaled, (T, 3, h, w)."""
        array = array_in(group, leaf.place, where)
        if not array.shape or array.shape[0] not in (length, length + 1):
            raise DataError(f"{where}: {leaf.place} has {array.shape} images for {length} frames. Restore it.")
        out = np.empty((length, 3, camera.height, camera.width), np.uint8)
        size = _size(leaf)
        for tick in range(length):
            if leaf.jpeg:
                picture = decode(np.asarray(array[tick], np.uint8).tobytes(), f"{where}: {leaf.place}, frame {tick}")
            else:
                picture = np.asarray(array[tick])
                picture = picture if leaf.shape[-1] == 3 else picture.transpose(1, 2, 0)
            if picture.shape != (*size, 3):
                raise DataError(
                    f"{where}: {leaf.place}, frame {tick}: is of shape {picture.shape}, {(*size, 3)} is needed."
                )
            out[tick] = scale(picture, (camera.height, camera.width)).transpose(2, 0, 1)
        return out

    def _length(self, group: Any, name: str) -> int:  # noqa: ANN401
        where = f"{self._file}: {name}"
        lengths = {field: array_in(group, field, where).shape[:1] for field in ("rewards", "terminations")}
        return check_lengths(where, {field: shape[0] if shape else 0 for field, shape in lengths.items()})

    def _instruction(self, group: Any, name: str) -> str:  # noqa: ANN401
        """Return what an attribute of ours says, or the one sentence of an observation that is text."""
        if "instruction" in group.attrs:
            return str(group.attrs["instruction"]).strip()
        where = f"{self._file}: {name}"
        for leaf in self._observed:
            if leaf.role == "text":
                rows = [bytes(item) for item in values_in(group, leaf.place, where)]
                other = [tick for tick, item in enumerate(rows) if item != rows[0]]
                if other:
                    raise DataError(
                        f"{where}, frame {other[0]}: {leaf.place} changes from {rows[0]!r} to {rows[other[0]]!r}. "
                        "Split the episode there."
                    )
                return rows[0].decode(errors="replace").strip()
        return ""


def _place(path: Path) -> Path | None:
    """Return the folder with both files."""
    for place in (path / "data", path):
        if (place / METADATA).is_file() and (place / MAIN).is_file():
            return place
    return None


def _metadata(path: Path) -> dict[str, Any]:
    metadata = read_json(path)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("total_episodes"), int):
        raise DataError(f"{path}: total_episodes is missing. Restore the file.")
    return metadata


def _environment(metadata: dict[str, Any]) -> str | None:
    try:
        return str(json.loads(metadata["env_spec"])["id"])
    except (KeyError, ValueError, TypeError):
        return None


def _filled(group: Any, where: str) -> list[str]:  # noqa: ANN401
    """Return which columns were not recorded but had to be there."""
    try:
        return list(json.loads(group.attrs.get(FILLED, "[]")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: attribute {FILLED} is not JSON ({error}).") from error


def _size(leaf: Leaf) -> tuple[int, int]:
    return (leaf.shape[0], leaf.shape[1]) if leaf.shape[-1] == 3 else (leaf.shape[1], leaf.shape[2])

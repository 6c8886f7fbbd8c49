"""One HDF5 file with a group an episode, as simple collection scripts write it.

Layout, T frames, C cameras::

    /  attribute spec          the RobotSpec as JSON; written here, optional when reading
    episode_<i>/images         (T, H, W, 3) uint8 RGB; or a group with one such array a camera
    episode_<i>/actions        (T, A) floating point
    episode_<i>/robot_state    (T, S) numbers
    episode_<i>/instruction    scalar string; empty where it is missing
    episode_<i>/success        scalar bool
    episode_<i>  attribute task    name for tables; optional

The guide this layout comes from describes all five arrays, but its own ``save()`` keeps ``images``, ``actions`` and
``instruction`` only: it collects ``robot_state`` and drops it, and never sets ``success``. Such files are
read too: the spec then must say ``"state": []``, and all episodes count as successes. Groups that are
missing in some episodes and present in others are refused, but for ``instruction``.

A group of cameras and the attributes are ours; whoever reads the five arrays does not notice them. So are, where an
episode has them, group ``sensors`` with an array each, ``reward`` (T,), ``final_state`` (S,), attribute ``terminated``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import to_dict
from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.columns import as_reading
from sinew.data.formats.hdf5_file import is_hdf5, new_file, opened, values_in
from sinew.data.formats.pictures import scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras, partial_of
from sinew.data.formats.source import (
    check_lengths,
    check_sensors,
    check_writable,
    first_of,
    numbers,
    of_one_robot,
    range_of,
)

GROUP = re.compile(r"episode_(\d+)")
FIELDS = ("images", "actions", "robot_state", "instruction", "success")
NEEDED = ("actions",)
OURS = ("sensors", "reward", "final_state")
"""Arrays that some episodes may have and others not."""
CAMERA = "camera"
"""What the only camera is called where nobody names it."""


class Hdf5:
    """Reads and writes the layout above; see ``Source``."""

    storages: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened(path) as file:
            present = [str(name) for name in file]  # bytes, where a name is not UTF-8
            found = {int(match[1]): name for name in present if (match := GROUP.fullmatch(name))}
            self.names = tuple(found[number] for number in sorted(found))
            if not self.names:
                raise DataError(
                    f"{path}: no groups episode_0, episode_1, ... but {first_of(present) or 'nothing'}. "
                    "This HDF5 layout is not known; docs/formats.md shows the one that is."
                )
            self._check_fields(file)
            self.facts = self._facts(file)
            self.instructions = tuple(self._text(file[name], name) for name in self.names)
            self.tasks = tuple(
                str(file[name].attrs.get("task", text))
                for name, text in zip(self.names, self.instructions, strict=True)
            )
            self.lengths = tuple(self._length(file[name], name) for name in self.names)
            first = file[self.names[0]]
            self.judged = "success" in first
            self.unread = tuple(
                sorted({*present} - {*self.names}) + [name for name in first if name not in (*FIELDS, *OURS)]
            )

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a file begins like HDF5."""
        return is_hdf5(path)

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``name.spec.json`` beside ``name.hdf5``."""
        return path.with_suffix(".spec.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        with opened(self.path) as file:
            rows = {f"{self.path}: {name}: actions": self._numbers(file[name], name, "actions") for name in self.names}
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        name = self.names[number]
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.facts.cameras))
        with opened(self.path, name) as file:
            group = file[name]
            action = self._numbers(group, name, "actions")
            state = np.zeros((len(action), 0), np.float32)
            if spec.state:
                state = self._numbers(group, name, "robot_state")
            arrays = {key: self._camera(group, name, key) for key in cameras.values()}
            lengths = {"actions": len(action), "robot_state": len(state)}
            lengths |= {f"images {key}": len(array) for key, array in arrays.items()}
            check_lengths(f"{self.path}: {name}", lengths)
            images = {
                camera: self._images(arrays[key], name, key, (spec.cameras[camera].height, spec.cameras[camera].width))
                for camera, key in cameras.items()
            }
            success = bool(self._scalar(group, name, "success")) if self.judged else True
            further = self._further(group, name, spec, len(action))
        return Episode(
            spec=spec,
            images=images,
            state=state,
            action=action,
            executed=action,
            instruction=self.instructions[number],
            task=self.tasks[number],
            success=success,
            source=self.path.stem,
            id=name,
            **further,
        )

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str = "image",
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes to a new file."""
        if storage not in Hdf5.storages:
            raise DataError(f"{storage}: HDF5 holds images as arrays only; ask for image storage, or for lerobot.")
        check_writable(path)
        with new_file(path) as file:
            for number, episode in enumerate(of_one_robot(path, episodes, on_episode)):
                if not number:
                    file.attrs["spec"] = json.dumps(to_dict(episode.spec))
                _write_episode(file.create_group(f"episode_{number}"), episode)

    def _check_fields(self, file: Any) -> None:  # noqa: ANN401  (h5py has no types)
        present = {field: [name for name in self.names if field in file[name]] for field in FIELDS}
        for field, names in present.items():
            absent = [name for name in self.names if name not in set(names)]
            if absent and field != "instruction" and (names or field in NEEDED):
                raise DataError(
                    f"{self.path}: {first_of(absent)} {'has' if len(absent) == 1 else 'have'} no {field}"
                    + (", other episodes have. " if names else ". ")
                    + "Write it, or leave these episodes out."
                )

    def _facts(self, file: Any) -> Facts:  # noqa: ANN401
        first, name = file[self.names[0]], self.names[0]
        said = PartialSpec()
        if "spec" in file.attrs:
            try:
                said = partial_of(json.loads(file.attrs["spec"]), f"{self.path}: attribute spec")
            except ValueError as error:
                raise DataError(f"{self.path}: attribute spec is not JSON ({error}).") from error
        images = first.get("images", {})
        keys = sorted(images) if hasattr(images, "keys") else [""]
        sizes = {key: self._camera(first, name, key or CAMERA).shape[1:3] for key in keys}
        alone = next(iter(said.cameras)) if len(said.cameras) == 1 else CAMERA
        return Facts(
            action_size=self._numbers(first, name, "actions").shape[1],
            state_size=self._numbers(first, name, "robot_state").shape[1] if "robot_state" in first else 0,
            cameras={key or alone: (int(height), int(width)) for key, (height, width) in sizes.items()},
            said=said,
        )

    def _camera(self, group: Any, name: str, key: str) -> Any:  # noqa: ANN401
        """Return the array of one camera, not yet read."""
        images = group["images"]
        if hasattr(images, "keys"):
            if key not in images:
                raise DataError(f"{self.path}: {name}: images has no camera {key}. Write it, or leave the episode out.")
            images = images[key]
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise DataError(
                f"{self.path}: {name}: images is {images.dtype} of shape {images.shape}, uint8 of shape "
                "(frames, height, width, 3) is needed."
            )
        return images

    def _images(self, array: Any, name: str, key: str, size: tuple[int, int]) -> NDArray[np.uint8]:  # noqa: ANN401
        """Return a camera's images scaled, (T, 3, h, w)."""
        if array.shape[1:3] != self.facts.cameras[key]:
            found, first = array.shape[1:3], self.facts.cameras[key]
            raise DataError(
                f"{self.path}: {name}: images are {found[0]} x {found[1]} px, those of {self.names[0]} are "
                f"{first[0]} x {first[1]}. Keep one file for each size."
            )
        out = np.empty((len(array), 3, *size), np.uint8)
        for first in range(0, len(array), 64):
            for offset, picture in enumerate(array[first : first + 64]):
                out[first + offset] = scale(picture, size).transpose(2, 0, 1)
        return out

    def _numbers(self, group: Any, name: str, field: str) -> NDArray[np.float32]:  # noqa: ANN401
        data = np.asarray(self._array(group, name, field))
        return numbers(data, f"{self.path}: {name}: {field}", floating=field == "actions")

    def _array(self, group: Any, name: str, field: str) -> Any:  # noqa: ANN401
        if not hasattr(group[field], "shape"):
            raise DataError(f"{self.path}: {name}: {field} is a group, an array is needed.")
        return group[field]

    def _further(self, group: Any, name: str, spec: RobotSpec, length: int) -> dict[str, Any]:  # noqa: ANN401
        """Return sensors, reward and how it ended, as far as an episode has them."""
        where = f"{self.path}: {name}"
        check_sensors(where, spec, group.get("sensors", {}))
        sensors = {
            key: as_reading(values_in(group, f"sensors/{key}", where), sensor, f"{where}: sensors/{key}")
            for key, sensor in spec.sensors.items()
        }
        found: dict[str, Any] = {"sensors": sensors, "terminated": bool(group.attrs.get("terminated", False))}
        if "reward" in group:
            found["reward"] = numbers(values_in(group, "reward", where), f"{where}: reward", floating=True)[:, 0]
        if "final_state" in group and spec.state:
            last = values_in(group, "final_state", where).reshape(1, -1)
            found["final_state"] = numbers(last, f"{where}: final_state", floating=False)[0]
        lengths = {key: len(values) for key, values in sensors.items()} | {"actions": length}
        check_lengths(where, lengths | ({"reward": len(found["reward"])} if "reward" in found else {}))
        return found

    def _scalar(self, group: Any, name: str, field: str) -> Any:  # noqa: ANN401
        data = self._array(group, name, field)
        if data.shape != () or data.dtype.kind not in "biu":
            raise DataError(f"{self.path}: {name}: {field} is {data.dtype} of shape {data.shape}, one bool is needed.")
        return data[()]

    def _text(self, group: Any, name: str) -> str:  # noqa: ANN401
        if "instruction" not in group:
            return ""
        data = self._array(group, name, "instruction")
        text = data[()] if data.shape == () else None
        if not isinstance(text, bytes):
            raise DataError(
                f"{self.path}: {name}: instruction is {data.dtype} of shape {data.shape}, one string is needed."
            )
        try:
            return text.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: {name}: instruction is not UTF-8 ({error}).") from error

    def _length(self, group: Any, name: str) -> int:  # noqa: ANN401
        data = self._array(group, name, "actions")
        return check_lengths(f"{self.path}: {name}", {"actions": data.shape[0] if data.shape else 0})


def _write_episode(group: Any, episode: Episode) -> None:  # noqa: ANN401  (h5py has no types)
    several = len(episode.images) > 1
    parent = group.create_group("images") if several else group
    for name, images in episode.images.items():
        data = images.transpose(0, 2, 3, 1)
        parent.create_dataset(
            name if several else "images",
            data=data,
            chunks=(1, *data.shape[1:]),
            compression="gzip",
            compression_opts=1,
        )
    group.create_dataset("actions", data=episode.action)
    group.create_dataset("robot_state", data=episode.state)
    group.create_dataset("instruction", data=episode.instruction)
    group.create_dataset("success", data=bool(episode.success))
    group.attrs["task"], group.attrs["terminated"] = episode.task, bool(episode.terminated)
    for name, readings in episode.sensors.items():
        group.create_dataset(f"sensors/{name}", data=readings)
    for name, values in (("reward", episode.reward), ("final_state", episode.final_state)):
        if values is not None:
            group.create_dataset(name, data=values)

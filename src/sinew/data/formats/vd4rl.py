"""V-D4RL: the control suite from pixels, in NumPy files of an episode each or in HDF5 shards of many.

Layout, R rows an episode (from the authors' conversion scripts; their files were not at hand)::

    64px/*.npz     image (R, 64, 64, 3) uint8, action (R, A), reward, discount (R,), is_first, is_last, is_terminal
    84px/*.hdf5    observation (N, 3, 84, 84) uint8, action (N, A), reward, discount, step_type (N,): 0, 1, ..., 1, 2

A row holds what was seen after its action, and the first row's action is none. So the image of a row goes with action
and reward of the next one: R rows are R - 1 frames, and the last image is what the episode ended in. It ended by itself
where the last discount is 0. There is no state, no sentence and nothing that says which episodes succeeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.hdf5_file import array_in, holds, opened, values_in
from sinew.data.formats.npz import npz_array, npz_names, npz_shape
from sinew.data.formats.pictures import scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras
from sinew.data.formats.source import RAW, check_sensors, numbered, numbers, range_of

CAMERA = "camera"
NEEDED = {".npz": ("image", "action", "reward", "discount"), ".hdf5": ("observation", "action", "reward", "step_type")}
FIRST, MIDDLE, LAST = 0, 1, 2


@dataclass(frozen=True)
class Run:
    """Where an episode lies: the file, its first row and how many rows it has."""

    file: Path
    start: int
    rows: int


class VD4rl:
    """Reads the layout above; see ``Source``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = _files(path)
        runs = _npz_runs if self._files[0].suffix == ".npz" else _hdf5_runs
        self._runs = tuple(run for file in self._files for run in runs(file))
        self.lengths = tuple(run.rows - 1 for run in self._runs)
        first = self._rows(self._runs[0], "action")
        images = self._rows(Run(self._runs[0].file, self._runs[0].start, 1), self._image)
        size = numbers(first, f"{self._runs[0].file}: action", floating=True).shape[1]
        self.facts = Facts(
            action_size=size,
            state_size=0,
            cameras={CAMERA: _size(images, f"{self._runs[0].file}: {self._image}")},
            said=PartialSpec(state=(), state_units=(), action=numbered("action", size), action_units=(RAW,) * size),
        )
        self.instructions: tuple[str, ...] = ("",) * len(self._runs)
        self.tasks = (_task(path),) * len(self._runs)
        self.judged = False
        self.unread: tuple[str, ...] = ()

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory holds such files, or a file is such a shard."""
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in NEEDED)
            return bool(found) and _is_one(found[0])
        return path.suffix in NEEDED and _is_one(path)

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory, or ``name.spec.json`` beside a file."""
        return path / "spec.json" if path.is_dir() else path.with_suffix(".spec.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """All NumPy files, or all shards."""
        return self._files

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each; those of first rows are none."""
        rows = {
            f"{run.file}: episode {number}: action": self._numbers(run, "action", floating=True)
            for number, run in enumerate(self._runs)
        }
        return range_of(rows, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        run = self._runs[number]
        where = f"{run.file}: episode {number}"
        check_sensors(str(self.path), spec, {})
        cameras = match_cameras(str(self.path), list(spec.cameras), [CAMERA])
        action = self._numbers(run, "action", floating=True)
        last = Run(run.file, run.start + run.rows - 1, 1)
        return Episode(
            spec=spec,
            images={name: self._images(run, where, spec.cameras[name]) for name in cameras},
            state=np.zeros((len(action), 0), np.float32),
            action=action,
            executed=action,
            instruction="",
            task=self.tasks[number],
            success=True,
            source=_task(self.path),
            id=f"{run.file.stem}_{run.start}",
            reward=self._numbers(run, "reward", floating=False)[:, 0],
            terminated=bool((self._rows(last, "discount") == 0).all()),
        )

    @property
    def _image(self) -> str:
        return NEEDED[self._files[0].suffix][0]

    def _rows(self, run: Run, name: str) -> NDArray[Any]:
        """Return all rows of an episode."""
        part = slice(run.start, run.start + run.rows)
        if run.file.suffix == ".npz":
            return npz_array(run.file, name)[part]
        with opened(run.file) as file:
            return np.asarray(array_in(file, name, str(run.file))[part])

    def _numbers(self, run: Run, name: str, *, floating: bool) -> NDArray[np.float32]:
        """Return what belongs to the frames: all rows but the first."""
        return numbers(self._rows(run, name), f"{run.file}: {name}", floating=floating)[1:]

    def _images(self, run: Run, where: str, camera: CameraSpec) -> NDArray[np.uint8]:
        """Return the images of the frames scaled, (T, 3, h, w): of all rows but the last."""
        images = self._rows(run, self._image)
        size = _size(images, f"{where}: {self._image}")
        if size != self.facts.cameras[CAMERA]:
            raise DataError(f"{where}: {self._image} is {size} px, the first ones {self.facts.cameras[CAMERA]}.")
        if images.shape[1] == 3:
            images = images.transpose(0, 2, 3, 1)
        out = np.empty((run.rows - 1, 3, camera.height, camera.width), np.uint8)
        for tick, picture in enumerate(images[:-1]):
            out[tick] = scale(np.ascontiguousarray(picture), (camera.height, camera.width)).transpose(2, 0, 1)
        return out


def _files(path: Path) -> tuple[Path, ...]:
    """Return the files of the kind that the first one is of."""
    if not path.is_dir():
        return (path,)
    found = sorted(file for file in path.iterdir() if file.suffix in NEEDED)
    return tuple(file for file in found if file.suffix == found[0].suffix)


def _is_one(file: Path) -> bool:
    if file.suffix == ".hdf5":
        return holds(file, *NEEDED[".hdf5"])
    try:
        return set(NEEDED[".npz"]) <= set(npz_names(file))
    except DataError:
        return file.parent.name.endswith("px")  # one of theirs by its place; reading it says what is wrong


def _npz_runs(file: Path) -> Iterator[Run]:
    """Yield the one episode of a file."""
    shapes = {name: npz_shape(file, name) for name in NEEDED[".npz"]}
    rows = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    _check_rows(f"{file}", rows)
    yield Run(file, 0, rows["action"])


def _hdf5_runs(file: Path) -> Iterator[Run]:
    """Yield the episodes of a shard."""
    with opened(file) as content:
        arrays = {name: array_in(content, name, str(file)) for name in (*NEEDED[".hdf5"], "discount")}
        _check_rows(f"{file}", {name: array.shape[0] if array.shape else 0 for name, array in arrays.items()})
        kinds = numbers(values_in(content, "step_type", str(file)), f"{file}: step_type", floating=False)[:, 0]
    wanted = np.full(len(kinds), MIDDLE)
    starts = np.union1d([0], np.flatnonzero(kinds == FIRST))
    ends = np.append(starts[1:], len(kinds))
    wanted[starts], wanted[ends - 1] = FIRST, LAST
    odd = np.flatnonzero(kinds != wanted)
    if len(odd):
        raise DataError(
            f"{file}: row {odd[0]}: step_type is {kinds[odd[0]]:g}, {wanted[odd[0]]} is needed there: an episode is "
            "one 0, then 1, and one 2. A shard was cut in the middle of an episode; restore it."
        )
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield Run(file, start, end - start)


def _check_rows(where: str, rows: dict[str, int]) -> None:
    if len(set(rows.values())) > 1 or min(rows.values()) < 2:
        text = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise DataError(f"{where}: {text} rows; as many of each, and at least 2, are needed. Leave the file out.")


def _size(images: NDArray[Any], where: str) -> tuple[int, int]:
    """Return (height, width) of images whose channels stand first or last."""
    if images.ndim != 4 or images.dtype != np.uint8 or 3 not in (images.shape[1], images.shape[3]):
        raise DataError(
            f"{where} is {images.dtype} of shape {images.shape}, uint8 of shape (rows, height, width, 3) or "
            "(rows, 3, height, width) is needed."
        )
    height, width = images.shape[2:] if images.shape[1] == 3 else images.shape[1:3]
    return int(height), int(width)


def _task(path: Path) -> str:
    """Return what the folders say: main/walker_walk/random/64px is walker_walk, random."""
    parts = path.resolve().parts
    return "/".join(parts[-3:-1]) if path.name.endswith("px") and len(parts) > 3 else path.stem

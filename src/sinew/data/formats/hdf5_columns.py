"""Episodes that are groups of named columns in HDF5 files, as robomimic and ALOHA keep them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats import columns as choose
from sinew.data.formats.hdf5_file import array_in, opened, values_in
from sinew.data.formats.pictures import Picture, decode, scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras
from sinew.data.formats.source import check_lengths, numbers, range_of

SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True)
class Scheme:
    """Where a layout keeps things, as paths within an episode's group.

    Attributes:
        action: column of the action.
        states: columns that make up the state, as far as they are there.
        cameras: group in which colour images lie.
        reward: column of rewards. ended: column whose last value says that the episode ended by itself.
        following: (group, group with the same columns one step later), from which the final state is taken.
    """

    action: str
    states: tuple[str, ...]
    cameras: str
    reward: str = ""
    ended: str = ""
    following: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Demo:
    """One episode: file, group in it, the id that it gets, its sentence."""

    path: Path
    group: str
    id: str
    instruction: str = ""
    held_out: bool = False

    @property
    def where(self) -> str:
        """File and episode, for messages."""
        return f"{self.path}: {self.group.rpartition('/')[2] or 'episode'}"


class Demos:
    """The episodes of a data set, and what their columns are; all have those of the first.

    Args:
        path: of the data set.
        demos: in order; at least one.
        scheme: where things lie.
        spec_file: beside which a columns.json is looked for.

    Attributes:
        lengths: frames by episode. columns: what the owner chose. own: its file, if it is there.
    """

    def __init__(self, path: Path, demos: Sequence[Demo], scheme: Scheme, spec_file: Path) -> None:
        self.path, self.demos, self.scheme = path, tuple(demos), scheme
        self._choice = choose.columns_file(spec_file)
        self.columns = choose.read_columns(spec_file)
        self.own = (self._choice,) if self._choice.exists() else ()
        with opened(self.demos[0].path, self.demos[0].id) as file:
            self._shapes = dict(_arrays(_group(file, self.demos[0])))
            vectors = {name: shape[1:] for name, (shape, kind) in self._shapes.items() if kind in "fiub"}
            self._sizes = {name: (shape or (1,))[0] for name, shape in vectors.items() if len(shape) <= 1}
            self._action = self._parts(self.columns.action or (scheme.action,), "action")
            usual = [name for name in scheme.states if name in self._sizes]
            self._state = self._parts(usual if self.columns.state is None else self.columns.state, "state")
            self._cameras = dict(self._find_cameras(_group(file, self.demos[0])))
        self.lengths = tuple(self._lengths())

    def facts(self, said: PartialSpec) -> Facts:
        """Return what the data tell of the robot, beside what is said in them."""
        names = PartialSpec(
            state=choose.names_of_parts(self._state, self._sizes),
            action=choose.names_of_parts(self._action, self._sizes),
        )
        return Facts(
            action_size=choose.size_of_parts(self._action),
            state_size=choose.size_of_parts(self._state),
            cameras={name: size for name, (_, size) in self._cameras.items()},
            said=said.over(names),
        )

    @property
    def unread(self) -> tuple[str, ...]:
        """Columns of the first episode that nobody reads."""
        known = {part.column for part in (*self._action, *self._state)} | {name for name, _ in self._cameras.values()}
        known |= {self.scheme.reward, self.scheme.ended, self.columns.success, self.columns.instruction}
        later = self.scheme.following[1] or None
        return tuple(name for name in self._shapes if name not in known and not (later and name.startswith(later)))

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        rows: dict[str, NDArray[np.float32]] = {}
        for demo in self.demos:
            with opened(demo.path, demo.id) as file:
                rows[f"{demo.where}: action"] = self._gather(_group(file, demo), self._action, demo, floating=True)
        return range_of(rows, choose.size_of_parts(self._action))

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        demo, scheme = self.demos[number], self.scheme
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self._cameras))
        with opened(demo.path, demo.id) as file:
            group = _group(file, demo)
            action = self._gather(group, self._action, demo, floating=True)
            state = np.zeros((len(action), 0), np.float32)
            if spec.state:
                state = self._gather(group, self._state, demo, floating=False)
            lengths = {"action": len(action), "state": len(state)}
            for name in cameras.values():
                column = self._cameras[name][0]
                lengths[column] = len(array_in(group, column, demo.where))
            check_lengths(demo.where, lengths)
            return Episode(
                spec=spec,
                images={
                    name: self._images(group, cameras[name], demo, (camera.height, camera.width))
                    for name, camera in spec.cameras.items()
                },
                state=state,
                action=action,
                executed=action,
                instruction=demo.instruction,
                task=demo.instruction,
                success=self._succeeded(group, demo),
                source=self.path.stem,
                id=demo.id,
                held_out=demo.held_out,
                sensors={
                    name: choose.as_reading(self._readings(group, name, demo), sensor, f"{demo.where}: {name}")
                    for name, sensor in spec.sensors.items()
                },
                reward=self._numbers(group, scheme.reward, demo)[:, 0] if scheme.reward in group else None,
                terminated=scheme.ended in group and bool(self._numbers(group, scheme.ended, demo)[-1, 0]),
                final_state=self._final_state(group, demo) if spec.state else None,
            )

    def _parts(self, names: Sequence[str], field: str) -> tuple[choose.Part, ...]:
        place = str(self._choice) if self.own else f"{self.demos[0].where} (or in {self._choice})"
        return choose.parts_of(names, self._sizes, f"{place}: {field}")

    def _find_cameras(self, group: Any) -> Iterator[tuple[str, tuple[str, tuple[int, int]]]]:  # noqa: ANN401
        """Yield (name, (column, (height, width))) of all columns of colour images."""
        for name, (shape, kind) in self._shapes.items():
            if not name.startswith(self.scheme.cameras):
                continue
            if 0 in shape:
                raise DataError(f"{self.demos[0].where}: {name} has shape {shape}. Leave empty episodes out.")
            short = name.removeprefix(self.scheme.cameras)
            if kind == "u" and len(shape) == 4 and shape[3] == 3:
                yield short, (name, (shape[1], shape[2]))
            elif (kind == "u" and len(shape) == 2) or (kind == "O" and len(shape) == 1):
                where = f"{self.demos[0].where}: {name}"
                height, width, _ = _decoded(array_in(group, name, self.demos[0].where)[0], f"{where}, frame 0").shape
                yield short, (name, (height, width))

    def _lengths(self) -> Iterator[int]:
        for demo in self.demos:
            with opened(demo.path, demo.id) as file:
                shape = array_in(_group(file, demo), self._action[0].column, demo.where).shape
                yield check_lengths(demo.where, {"action": shape[0] if shape else 0})

    def _gather(
        self,
        group: Any,  # noqa: ANN401  (h5py has no types)
        parts: Sequence[choose.Part],
        demo: Demo,
        *,
        floating: bool,
    ) -> NDArray[np.float32]:
        lengths = {part.column: len(array_in(group, part.column, demo.where)) for part in parts}
        if lengths:
            check_lengths(demo.where, lengths)
        return choose.gather(parts, lambda name: self._numbers(group, name, demo, floating=floating), demo.where)

    def _numbers(self, group: Any, name: str, demo: Demo, *, floating: bool = False) -> NDArray[np.float32]:  # noqa: ANN401
        where = f"{demo.where}: {name}"
        values = numbers(values_in(group, name, demo.where), where, floating=floating)
        wanted = self._sizes.get(name, values.shape[1])
        if values.shape[1] != wanted:
            raise DataError(
                f"{where} has {values.shape[1]} values a frame, {self.demos[0].id} has {wanted}. Record it again."
            )
        return values

    def _images(self, group: Any, camera: str, demo: Demo, size: tuple[int, int]) -> NDArray[np.uint8]:  # noqa: ANN401
        """Return a camera's images scaled, (T, 3, h, w)."""
        column, wanted = self._cameras[camera]
        array = array_in(group, column, demo.where)
        out = np.empty((len(array), 3, *size), np.uint8)
        for number in range(len(array)):
            where = f"{demo.where}: {column}, frame {number}"
            picture = _decoded(array[number], where)
            if picture.shape != (*wanted, 3):
                raise DataError(
                    f"{where}: has shape {picture.shape}, the first image of the data set is {wanted[0]} x {wanted[1]} "
                    "px in three colours. Keep one data set for each size."
                )
            out[number] = scale(self.columns.upright(camera, picture), size).transpose(2, 0, 1)
        return out

    def _readings(self, group: Any, name: str, demo: Demo) -> NDArray[Any]:  # noqa: ANN401
        names = [path for path in self._shapes if path == name or path.endswith(f"/{name}")]
        names = [
            path for path in names if not self.scheme.following[1] or not path.startswith(self.scheme.following[1])
        ]
        if len(names) != 1:
            raise DataError(
                f"{self.path}: the spec's sensor {name} is {' or '.join(names) or 'no column'}; one column is needed. "
                f"There are: {', '.join(self._shapes)}."
            )
        return values_in(group, names[0], demo.where)

    def _succeeded(self, group: Any, demo: Demo) -> bool:  # noqa: ANN401
        if self.columns.success is None:
            return True
        return bool((self._numbers(group, self.columns.success, demo) > 0).any())

    def _final_state(self, group: Any, demo: Demo) -> NDArray[np.float32] | None:  # noqa: ANN401
        now, later = self.scheme.following
        names = [part.column for part in self._state]
        if not later or not all(name.startswith(now) and later + name.removeprefix(now) in group for name in names):
            return None
        return choose.gather(
            self._state, lambda name: self._numbers(group, later + name.removeprefix(now), demo)[-1:], demo.where
        )[0]


def files_in(path: Path) -> tuple[Path, ...]:
    """Return the HDF5 file, or those in a directory in the order of the numbers in their names."""
    if not path.is_dir():
        return (path,)
    files = [file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file()]
    return tuple(sorted(files, key=lambda file: in_order(file.stem)))


def in_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts demo_10 after demo_9."""
    return [(int(word) if word.isdigit() else -1, word) for word in re.split(r"(\d{1,18})", name)]


def spec_beside(path: Path) -> Path:
    """Return ``spec.json`` in a directory, ``name.spec.json`` beside a file."""
    return path / "spec.json" if path.is_dir() else path.with_suffix(".spec.json")


def text_of(value: Any, where: str) -> str:  # noqa: ANN401  (whatever HDF5 held)
    """Return a string that HDF5 keeps as text, as bytes, or as an array of one.

    Raises:
        DataError: it is none.
    """
    value = value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 ({error}).") from error
    if not isinstance(text, str):
        raise DataError(f"{where} is {type(value).__name__}, one string is needed.")
    return text.strip()


def _group(file: Any, demo: Demo) -> Any:  # noqa: ANN401
    if demo.group and not hasattr(file.get(demo.group), "keys"):
        raise DataError(f"{demo.where}: {demo.group} is no group. Restore the file from a copy.")
    return file[demo.group] if demo.group else file


def _arrays(group: Any) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:  # noqa: ANN401
    """Yield (path, (shape, kind of type)) of all arrays under a group."""
    found: list[tuple[str, tuple[tuple[int, ...], str]]] = []

    def note(name: Any, item: Any) -> None:  # noqa: ANN401
        if getattr(item, "shape", None):
            found.append((str(name), (item.shape, item.dtype.kind)))

    visit: Callable[[Callable[[Any, Any], None]], None] = group.visititems
    visit(note)
    yield from found


def _decoded(row: Any, where: str) -> Picture:  # noqa: ANN401
    """Return one image, stored as an array or as a row of JPEG bytes with zeros after them."""
    values = np.asarray(row)
    if values.dtype != np.uint8:
        raise DataError(f"{where}: is {values.dtype}, uint8 is needed.")
    return values if values.ndim == 3 else decode(values.tobytes(), where)

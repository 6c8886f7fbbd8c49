"""Replay buffers of Diffusion Policy in Zarr: all episodes one after another, and where each ends.

A directory, or the same as one .zip::

    data/action           (N, A) floating point
    data/state            (N, S), and other numbers
    data/<camera>         (N, H, W, 3) uint8, or floating point that holds whole numbers of 0 .. 255
    meta/episode_ends     (episodes,) integers: the number of the first frame that is no longer part of it
    spec.json, columns.json      the rest of the RobotSpec, and other columns than the usual; ours, beside a .zip with
                                 its name in front

The layout is from Diffusion Policy's source, no file that it wrote was at hand. Needs the extra ``zarr``. Zarr reads a
chunk that is missing as zeros; here it is an error. Neither rate nor sentence is in the files. In Push-T ``state``
holds the pose of the block as well: ``"state": ["state[0:2]"]`` in columns.json leaves it out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError, require
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats import columns as choose
from sinew.data.formats.pictures import Picture, scale
from sinew.data.formats.robot import Facts, PartialSpec, match_cameras
from sinew.data.formats.source import numbers, range_of

ACTION, STATE = "action", "state"
AT_ONCE = 64
"""Images read at a time."""
BLOSC_HEAD = 16
"""Bytes before a Blosc chunk: version, codec, flags, size of a value, then bytes inflated, a block's, and stored."""
CHUNK_BYTES = 2**31
"""Of the largest chunk that is read."""


class ReplayZarr:
    """Reads the layout above; see ``Source``."""

    judged = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._choice = choose.columns_file(self.spec_file(path))
        self.columns = choose.read_columns(self.spec_file(path))
        with _opened(path) as root:
            arrays = sorted((str(name), array) for name, array in root["data"].arrays())
            self._shapes = {name: (array.shape, array.dtype.kind) for name, array in arrays}
            self._sizes = {
                name: (*shape[1:], 1)[0]
                for name, (shape, kind) in self._shapes.items()
                if len(shape) < 3 and kind in "fiub"
            }
            self._action = self._parts(self.columns.action or (ACTION,), "action")
            usual = (STATE,) if STATE in self._sizes else ()
            self._state = self._parts(usual if self.columns.state is None else self.columns.state, "state")
            self._ends = self._read_ends(root)
            self._check(root)
        self.lengths = tuple(np.diff(self._ends, prepend=0).tolist())
        self.instructions: tuple[str, ...] = ("",) * len(self.lengths)
        self.tasks: tuple[str, ...] = self.instructions
        self.facts = Facts(
            action_size=choose.size_of_parts(self._action),
            state_size=choose.size_of_parts(self._state),
            cameras=self._cameras(),
            said=PartialSpec(
                state=choose.names_of_parts(self._state, self._sizes),
                action=choose.names_of_parts(self._action, self._sizes),
            ),
        )
        known = {part.column for part in (*self._action, *self._state)} | set(self.facts.cameras)
        self.unread = tuple(name for name in self._shapes if name not in known)

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether a directory or a .zip holds data and meta/episode_ends."""
        if path.is_file() and path.suffix == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return any(name.startswith("meta/episode_ends/") for name in file.namelist())
        return (path / "data").is_dir() and (path / "meta" / "episode_ends").is_dir()

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return ``spec.json`` in the directory, ``name.spec.json`` beside a .zip."""
        return path / "spec.json" if path.is_dir() else path.with_suffix(".spec.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """The .zip, or all files of the two groups; and the choice of columns."""
        own = (self._choice,) if self._choice.exists() else ()
        if self.path.is_file():
            return (self.path, *own)
        found = [file for name in ("data", "meta") for file in (self.path / name).rglob("*") if file.is_file()]
        return (*sorted(found), *own)

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each."""
        with _opened(self.path) as root:
            rows = self._gather(root, self._action, slice(0, int(self._ends[-1])), str(self.path), floating=True)
        return range_of({f"{self.path}: action": rows}, self.facts.action_size)

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode."""
        where = f"{self.path}: episode_{number}"
        rows = slice(int(self._ends[number]) - self.lengths[number], int(self._ends[number]))
        cameras = match_cameras(str(self.path), list(spec.cameras), list(self.facts.cameras))
        with _opened(self.path, f"episode_{number}") as root:
            action = self._gather(root, self._action, rows, where, floating=True)
            state = np.zeros((len(action), 0), np.float32)
            if spec.state:
                state = self._gather(root, self._state, rows, where, floating=False)
            images = {
                name: self._images(root, cameras[name], rows, where, (camera.height, camera.width))
                for name, camera in spec.cameras.items()
            }
            sensors = {
                name: choose.as_reading(self._readings(root, name, rows), sensor, f"{where}: {name}")
                for name, sensor in spec.sensors.items()
            }
        return Episode(
            spec=spec,
            images=images,
            state=state,
            action=action,
            executed=action,
            instruction="",
            task="",
            success=True,
            source=self.path.stem,
            id=f"episode_{number}",
            sensors=sensors,
        )

    def _parts(self, names: tuple[str, ...], field: str) -> tuple[choose.Part, ...]:
        return choose.parts_of(names, self._sizes, f"{self.path} (or in {self._choice}): {field}")

    def _read_ends(self, root: Any) -> NDArray[np.int64]:  # noqa: ANN401  (zarr's types are wide)
        array = root["meta"]["episode_ends"]
        self._check_chunks(array, "meta/episode_ends")
        ends = np.asarray(array[...])
        if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) == 0:
            raise DataError(
                f"{self.path}: meta/episode_ends is {ends.dtype} of shape {ends.shape}, integers in a row are needed."
            )
        ends = ends.astype(np.int64)
        short = np.flatnonzero(np.diff(ends, prepend=0) <= 0)
        if len(short):
            raise DataError(
                f"{self.path}: episode_{short[0]} has no frames: meta/episode_ends does not rise there. Leave empty "
                "episodes out."
            )
        return ends

    def _check(self, root: Any) -> None:  # noqa: ANN401
        """Refuse columns of other lengths than meta/episode_ends says, and missing chunks."""
        wanted = int(self._ends[-1])
        for name, (shape, _) in self._shapes.items():
            if not shape or shape[0] != wanted:
                raise DataError(
                    f"{self.path}: data/{name} has {(*shape, 0)[0]} frames, meta/episode_ends says {wanted}. Restore "
                    "both from one recording."
                )
            self._check_chunks(root[f"data/{name}"], f"data/{name}")

    def _check_chunks(self, array: Any, name: str) -> None:  # noqa: ANN401
        if int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize > CHUNK_BYTES:
            raise DataError(f"{self.path}: {name} has chunks of {array.chunks}, more than 2 GiB. Write smaller ones.")
        if array.nchunks_initialized != array.nchunks:
            raise DataError(
                f"{self.path}: {name} has {array.nchunks_initialized} of {array.nchunks} chunks. Restore the others; "
                "where they held nothing but zeros, write them with write_empty_chunks=True."
            )
        if any("blosc" in type(codec).__name__.lower() for codec in array.compressors):
            wanted = int(np.prod(array.chunks)) * array.dtype.itemsize
            for chunk, head, size in _chunks(self.path, name):
                _check_blosc(f"{self.path}: {name}, chunk {chunk}", head, size, wanted)

    def _cameras(self) -> dict[str, tuple[int, int]]:
        pictures = {
            name: shape
            for name, (shape, kind) in self._shapes.items()
            if len(shape) == 4 and shape[3] == 3 and kind in "uf"
        }
        return {name: (shape[1], shape[2]) for name, shape in pictures.items()}

    def _gather(
        self,
        root: Any,  # noqa: ANN401
        parts: tuple[choose.Part, ...],
        rows: slice,
        where: str,
        *,
        floating: bool,
    ) -> NDArray[np.float32]:
        return choose.gather(
            parts,
            lambda name: numbers(np.asarray(root[f"data/{name}"][rows]), f"{where}: {name}", floating=floating),
            where,
        )

    def _images(
        self,
        root: Any,  # noqa: ANN401
        camera: str,
        rows: slice,
        where: str,
        size: tuple[int, int],
    ) -> NDArray[np.uint8]:
        """Return a camera's images scaled, (T, 3, h, w)."""
        out = np.empty((rows.stop - rows.start, 3, *size), np.uint8)
        for number, picture in enumerate(self._pictures(root[f"data/{camera}"], rows, f"{where}: {camera}")):
            out[number] = scale(self.columns.upright(camera, picture), size).transpose(2, 0, 1)
        return out

    def _pictures(self, array: Any, rows: slice, where: str) -> Iterator[Picture]:  # noqa: ANN401
        for first in range(rows.start, rows.stop, AT_ONCE):
            block = np.asarray(array[first : min(first + AT_ONCE, rows.stop)])
            whole = block.astype(np.uint8) if block.dtype == np.uint8 else _rounded(block)
            wrong = np.flatnonzero((whole != block).reshape(len(block), -1).any(axis=1))
            if len(wrong):
                raise DataError(
                    f"{where}, frame {first - rows.start + wrong[0]}: holds other values than whole numbers of 0 .. "
                    "255. Write the images as uint8."
                )
            yield from whole

    def _readings(self, root: Any, name: str, rows: slice) -> NDArray[Any]:  # noqa: ANN401
        if name not in self._shapes:
            raise DataError(
                f"{self.path}: the spec's sensor {name} is no column of data. There are: {', '.join(self._shapes)}."
            )
        return np.asarray(root[f"data/{name}"][rows])


def _chunks(path: Path, name: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield (name, first bytes, size) of each chunk of an array."""
    if path.is_file():
        with zipfile.ZipFile(path) as file:
            items = [item for item in file.infolist() if item.filename.startswith(f"{name}/") and not item.is_dir()]
            for item in items:
                yield item.filename.removeprefix(f"{name}/"), _head(file.open(item)), item.file_size
        return
    for item in sorted(item for item in (path / name).rglob("*") if item.is_file()):
        yield item.relative_to(path / name).as_posix(), _head(item.open("rb")), item.stat().st_size


def _head(opened: IO[bytes]) -> bytes:
    with opened as file:
        return file.read(BLOSC_HEAD)


def _check_blosc(where: str, head: bytes, size: int, wanted: int) -> None:
    """Refuse a Blosc chunk that is cut off: the library trusts its head, and reads on behind the end of the buffer."""
    if where.endswith((".zarray", ".zattrs", "zarr.json")):
        return
    inflated, stored = int.from_bytes(head[4:8], "little"), int.from_bytes(head[12:16], "little")
    if len(head) < BLOSC_HEAD or stored != size or inflated != wanted:
        raise DataError(
            f"{where}: {size} bytes that say of themselves {stored}, and {inflated} when inflated; {wanted} are "
            "needed. Restore the file from a copy."
        )


def _rounded(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.nan_to_num(block, nan=0.0).clip(0, 255).astype(np.uint8)


@contextmanager
def _opened(path: Path, name: str = "") -> Generator[Any]:
    """Yield the open group; whatever zarr finds wrong with it is an error that names the place and the episode."""
    zarr = require("zarr", extra="zarr")
    broken = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)
    try:
        with zarr.storage.ZipStore(path, mode="r") if path.is_file() else nullcontext(str(path)) as store:
            yield zarr.open_group(store, mode="r")
    except (*broken, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}:{f' {name}:' if name else ''} cannot be read as Zarr ({error}). Restore it from a copy."
        ) from error

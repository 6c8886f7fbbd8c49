"""The columns of a store: files in which every frame of every episode has its place."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.films import FilmFile, FilmFrames
from sinew.data.jpeg import JpegFrames, encode
from sinew.data.layout import Layout

SUFFIX = {"float32": "f32", "uint8": "u8", "int16": "i16", "uint16": "u16"}
"""Of a column's file, by the type of its values."""
ROW_BYTES = 24
"""Of a row of three int64."""
Packed = tuple[NDArray[Any], ...]
"""What an episode adds to a column, an array for each of its files."""


@dataclass(frozen=True)
class RawColumn:
    """A file of values one after another, mapped when read.

    Attributes:
        file: its name.
        shape: of one frame's value.
        dtype: of the value.
    """

    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def files(self) -> tuple[str, ...]:
        """The one file."""
        return (self.file,)

    @property
    def frame_bytes(self) -> int:
        """Bytes per frame."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def pack(self, array: NDArray[Any]) -> Packed:
        """Return what an episode adds."""
        return (np.ascontiguousarray(array, self.dtype),)

    def placed(self, packed: Packed, lengths: Sequence[int]) -> Packed:
        """Return what is written where the files are that long."""
        del lengths
        return packed

    def held(self, directory: Path, frames: int) -> int:
        """Return how many of the first frames the file holds."""
        return min(frames, _size(directory / self.file) // self.frame_bytes) if self.frame_bytes else frames

    def lengths(self, directory: Path, frames: int) -> tuple[int, ...]:
        """Return how long the file is with that many frames in it."""
        del directory
        return (frames * self.frame_bytes,)

    def view(self, directory: Path, frames: int) -> NDArray[Any]:
        """Return the first frames, (frames, ...), read-only."""
        shape = (frames, *self.shape)
        if not frames * self.frame_bytes:
            return np.zeros(shape, self.dtype)
        return np.asarray(np.memmap(directory / self.file, self.dtype, mode="r", shape=shape))

    def stored(self, view: Any, first: int, end: int) -> Packed:  # noqa: ANN401  (its own view)
        """Return what the episode of these frames added."""
        return (view[first:end],)


@dataclass(frozen=True)
class JpegColumn:
    """Images as JPEG one after another, and a file of the positions at which they end.

    Attributes:
        name: of the column.
        shape: (3, h, w).
    """

    name: str
    shape: tuple[int, int, int]
    dtype = np.dtype(np.uint8)

    @property
    def files(self) -> tuple[str, ...]:
        """The images, and where they end."""
        return (f"{self.name}.jpg", f"{self.name}.i64")

    @property
    def frame_bytes(self) -> int:
        """Bytes per frame, about: photographs take a quarter of what they take raw, simple drawings less."""
        return int(np.prod(self.shape)) // 4

    def pack(self, array: NDArray[Any]) -> Packed:
        """Return an episode's images as JPEG, and where they end counted from the first."""
        images = [encode(image) for image in array]
        return np.frombuffer(b"".join(images), np.uint8), np.cumsum([len(image) for image in images], dtype="<i8")

    def placed(self, packed: Packed, lengths: Sequence[int]) -> Packed:
        """Return what is written where the files are that long."""
        return packed[0], packed[1] + lengths[0]

    def held(self, directory: Path, frames: int) -> int:
        """Return how many of the first frames the files hold."""
        blob, ends = (directory / name for name in self.files)
        known = min(frames, _size(ends) // 8)
        return int(np.searchsorted(_ends(ends, known), _size(blob), side="right")) if known else 0

    def lengths(self, directory: Path, frames: int) -> tuple[int, ...]:
        """Return how long the files are with that many frames in them."""
        return (int(_ends(directory / self.files[1], frames)[-1]) if frames else 0, 8 * frames)

    def view(self, directory: Path, frames: int) -> JpegFrames:
        """Return the first frames, (frames, 3, h, w), decoded as they are read."""
        return JpegFrames(directory / self.files[0], directory / self.files[1], frames, self.shape)

    def stored(self, view: Any, first: int, end: int) -> Packed:  # noqa: ANN401  (its own view)
        """Return what the episode of these frames added."""
        return view.stored(first, end)


@dataclass(frozen=True)
class FilmColumn:
    """Images that stay in films: where the packets lie in these, and which of them each frame needs.

    Attributes:
        name: of the column.
        shape: (3, h, w).
        films: the films.
    """

    name: str
    shape: tuple[int, int, int]
    films: tuple[FilmFile, ...]
    dtype = np.dtype(np.uint8)
    frame_bytes = 3 * ROW_BYTES

    @property
    def files(self) -> tuple[str, ...]:
        """The packets, and what frames need of them."""
        return (f"{self.name}.packets.i64", f"{self.name}.i64")

    def pack(self, array: Any) -> Packed:  # noqa: ANN401  (FilmFrames in the place of images)
        """Return the packets of an episode, and its frames' places.

        Raises:
            DataError: the images are no frames of these films.
        """
        known = {film: number for number, film in enumerate(self.films)}
        if not isinstance(array, FilmFrames) or not known.keys() >= set(array.films):
            raise DataError(f"{self.name}: this store leaves images in their films; append episodes that do, too.")
        packets, places = array.stored(0, len(array))
        places[:, 0] = np.array([known[film] for film in array.films])[places[:, 0]]
        return packets.astype("<i8"), places.astype("<i8")

    def placed(self, packed: Packed, lengths: Sequence[int]) -> Packed:
        """Return what is written where the files are that long."""
        return packed[0], packed[1] + np.array([0, 1, 1]) * (lengths[0] // ROW_BYTES)

    def held(self, directory: Path, frames: int) -> int:
        """Return how many of the first frames the files hold."""
        known = min(frames, _size(directory / self.files[1]) // ROW_BYTES)
        whole = self.lengths(directory, known)[0] <= _size(directory / self.files[0])
        return known if whole else 0

    def lengths(self, directory: Path, frames: int) -> tuple[int, ...]:
        """Return how long the files are with that many frames in them."""
        if not frames:
            return (0, 0)
        # Frames are shown in another order than they are decoded, but never far from it.
        last = _rows(directory / self.files[1], frames)[-64:, 2].max()
        return (ROW_BYTES * (int(last) + 1), ROW_BYTES * frames)

    def view(self, directory: Path, frames: int) -> FilmFrames:
        """Return the first frames, (frames, 3, h, w), decoded as they are read."""
        packets = self.lengths(directory, frames)[0] // ROW_BYTES
        parts = [_rows(directory / file, count) for file, count in zip(self.files, (packets, frames), strict=True)]
        return FilmFrames(self.films, parts[0], parts[1], self.shape[1:])

    def stored(self, view: Any, first: int, end: int) -> Packed:  # noqa: ANN401  (its own view)
        """Return what the episode of these frames added."""
        return view.stored(first, end)


Column = RawColumn | JpegColumn | FilmColumn
View = NDArray[Any] | JpegFrames | FilmFrames
"""Frames of a column, (N, ...): what is packed stands there like an array and is decoded as it is read."""


def columns_of(spec: RobotSpec, layout: Layout) -> dict[str, Column]:
    """Return the columns by name in their order on disk; targets of unknown size are left out."""
    single, byte = np.dtype("<f4"), np.dtype(np.uint8)
    columns: dict[str, Column] = {}
    for name, camera in sorted(spec.cameras.items()):
        shape = (3, camera.height, camera.width)
        if name in layout.films:
            columns[f"images.{name}"] = FilmColumn(f"images.{name}", shape, layout.films[name])
        elif layout.jpeg:
            columns[f"images.{name}"] = JpegColumn(f"images.{name}", shape)
        else:
            columns[f"images.{name}"] = RawColumn(f"images.{name}.u8", shape, byte)
    sizes: dict[str, int | None] = {"state": spec.state_size, "action": spec.action_size, "executed": spec.action_size}
    sizes |= {f"targets.{name}": size for name, size in sorted(layout.targets.items())}
    for name, size in sizes.items():
        if size is not None:
            columns[name] = RawColumn(f"{name}.f32", (size,), single)
    if layout.reward:
        columns["reward"] = RawColumn("reward.f32", (), single)
    for name in layout.sensors:
        sensor = spec.sensors[name]
        kind = np.dtype(sensor.dtype).newbyteorder("<")
        columns[f"sensors.{name}"] = RawColumn(f"sensors.{name}.{SUFFIX[kind.name]}", tuple(sensor.shape), kind)
    return columns


def pack(episode: Episode, columns: Mapping[str, Column]) -> dict[str, Packed]:
    """Return what an episode adds to each column, in the columns' order."""
    arrays: dict[str, NDArray[Any]] = {f"images.{name}": images for name, images in episode.images.items()}
    arrays |= {"state": episode.state, "action": episode.action, "executed": episode.executed}
    arrays |= {f"targets.{name}": target for name, target in episode.targets.items()}
    arrays |= {f"sensors.{name}": readings for name, readings in episode.sensors.items()}
    if episode.reward is not None:
        arrays["reward"] = episode.reward
    return {name: column.pack(arrays[name]) for name, column in columns.items()}


def checksum(parts: Iterable[Packed]) -> int:
    """Return the CRC-32 of the bytes that an episode adds to the columns, wherever in the files they lie."""
    crc = 0
    for array in (array for packed in parts for array in packed):
        crc = zlib.crc32(array.data, crc)
    return crc


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _rows(path: Path, count: int) -> NDArray[np.int64]:
    return np.memmap(path, "<i8", mode="r", shape=(count, 3)) if count else np.zeros((0, 3), np.int64)


def _ends(path: Path, frames: int) -> NDArray[np.int64]:
    return np.memmap(path, "<i8", mode="r", shape=(frames,))

"""Frames that stay in the films of a data set and are decoded, each from the key frame before it, when they are read.

A film is looked through once. What is kept of it is where every packet lies in the file and which packets a frame
needs; so reading opens no container, seeks nothing, and decodes no more than from the nearest key frame on.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.scaling import scale

SLACK = 0.05
"""How far from n / fps a frame may be shown to be the n-th, in frames."""
OPEN = 64
"""Films that a process keeps mapped."""


@dataclass(frozen=True)
class FilmFile:
    """A film as it was when it was looked through.

    Attributes:
        path: absolute.
        num_bytes: its size.
        height: of its frames [px].
        width: of its frames [px].
        codec: FFmpeg's name of the decoder.
        extradata: what the decoder needs beside the packets, hexadecimal.
    """

    path: str
    num_bytes: int
    height: int
    width: int
    codec: str
    extradata: str


@dataclass(frozen=True)
class FilmIndex:
    """What a film holds.

    Attributes:
        file: the film.
        packets: (P, 3) int64 in the order of decoding: position in the file, bytes, time at which it is shown.
        keys: (P,) row of the key frame that decoding starts at to see this packet.
        rows: (n,) row of the packet that shows the n-th frame, -1 where none does.
    """

    file: FilmFile
    packets: NDArray[np.int64]
    keys: NDArray[np.int64]
    rows: NDArray[np.int64]

    def frames(self, first: int, count: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the packets that a run of frames needs, (p, 3), and each frame's first and last one, (count, 2).

        Raises:
            DataError: the film shows fewer frames.
        """
        rows = self.rows[first : first + count]
        missing = np.flatnonzero(rows < 0)
        if len(rows) < count or len(missing):
            number = int(missing[0]) if len(missing) else len(rows)
            raise DataError(
                f"{where}, frame {number}: {self.file.path} shows no frame {first + number}, but the table lists "
                f"{count} frames from {first} on. Film and table must come from one recording; restore both."
            )
        begin, end = int(self.keys[rows].min()), int(rows.max()) + 1
        return self.packets[begin:end], np.stack([self.keys[rows], rows], axis=1) - begin


def look_through(path: Path, fps: float) -> FilmIndex:
    """Find the packets of a film without decoding them.

    Args:
        path: the film.
        fps: frames per second; frame n is shown at n / fps seconds.

    Raises:
        DataError: missing, damaged, or it does not begin with a key frame.
    """
    with _opened(path) as (container, stream):
        base = float(stream.time_base or 1)
        found = [
            (packet.pos, packet.size, packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]
        file = _described(path, stream)
    if not found or not found[0][3] or any(row[0] is None or row[0] < 0 for row in found):
        raise DataError(f"{path}: does not say where its key frames lie. Let the data set be read into a store.")
    packets = np.array([row[:3] for row in found], dtype=np.int64)
    keys = np.maximum.accumulate(np.where([row[3] for row in found], np.arange(len(found)), 0))
    places = packets[:, 2] * base * fps
    numbers = places.round().astype(np.int64)
    shown = np.flatnonzero((np.abs(places - numbers) <= SLACK) & (numbers >= 0))
    rows = np.full(int(numbers[shown].max(initial=-1)) + 1, -1, np.int64)
    rows[numbers[shown]] = shown
    return FilmIndex(file, packets, keys, rows)


def describe(path: Path) -> FilmFile:
    """Return what can be said of a film without looking through it.

    Raises:
        DataError: missing or damaged.
    """
    with _opened(path) as (_, stream):
        return _described(path, stream)


@contextmanager
def _opened(path: Path) -> Generator[tuple[Any, Any]]:
    """Yield container and video stream of a film."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            yield container, container.streams.video[0]
    except (FFmpegError, IndexError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a film ({error}). Restore the file.") from error


def _described(path: Path, stream: Any) -> FilmFile:  # noqa: ANN401  (PyAV's stream)
    context = stream.codec_context
    extradata = (context.extradata or b"").hex()
    return FilmFile(str(path.resolve()), path.stat().st_size, context.height, context.width, context.name, extradata)


class FilmFrames:
    """An array (N, 3, h, w) uint8 whose frames are decoded from films whenever they are read; nothing is kept.

    Every process has decoders of its own and maps the films by path, so that it may be forked.

    Args:
        films: the films.
        packets: (P, 3), see ``FilmIndex``.
        places: (N, 3) number of the film, first and last row of the packets that a frame needs.
        size: (height, width) [px] that frames are scaled to.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, films: Sequence[FilmFile], packets: NDArray[np.int64], places: NDArray[np.int64], size: tuple[int, int]
    ) -> None:
        self.films, self.packets, self.places = tuple(films), packets, places
        self.shape = (len(places), 3, *size)
        self._decoders = Decoders()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401  (whatever chooses rows of an array)
        return self.take(np.arange(len(self))[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401, FBT001
        return self[:].astype(dtype or np.uint8, copy=False)

    def stored(self, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the packets of a run of frames, and the frames' places with rows counted from the first packet."""
        places = np.array(self.places[first:end])
        begin, last = places[:, 1].min(), places[:, 2].max()
        places[:, 1:] -= begin
        return np.asarray(self.packets[begin : last + 1]), places

    def take(self, frames: Any, axis: int = 0) -> NDArray[Any]:  # noqa: ANN401  (numbers of any shape)
        """Return frames by number, (..., 3, h, w); those that share a key frame are decoded in one go.

        Raises:
            DataError: a film is missing, was changed, or a frame cannot be decoded; names the film and the frame.
        """
        assert axis == 0
        numbers = np.asarray(frames, dtype=np.int64)
        wanted, back = np.unique(numbers, return_inverse=True)
        places = np.asarray(self.places[wanted])
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for run in _runs(places):
            film = self.films[places[run.start, 0]]
            rows = np.asarray(self.packets[places[run.start, 1] : places[run, 2].max() + 1])
            times = [int(self.packets[row, 2]) for row in places[run, 2]]
            pictures = self._decoders.pictures(film, rows, set(times))
            for place, time in zip(range(run.start, run.stop), times, strict=True):
                if time not in pictures:
                    raise DataError(f"{film.path}: the frame at time {time} cannot be decoded. Restore the file.")
                out[place] = scale(pictures[time], self.shape[2:]).transpose(2, 0, 1)
        return out[back.reshape(numbers.shape)]


def _runs(places: NDArray[np.int64]) -> Iterator[slice]:
    """Yield runs of frames whose decoding starts at one key frame."""
    begins = np.flatnonzero(np.r_[True, (np.diff(places[:, :2], axis=0) != 0).any(axis=1)]) if len(places) else []
    for begin, end in zip(begins, [*begins[1:], len(places)], strict=True):
        yield slice(int(begin), int(end))


class Decoders:
    """What a process needs to decode: mapped films and a decoder for each kind of them, opened when first needed."""

    def __init__(self) -> None:
        self._process = -1

    def pictures(self, film: FilmFile, packets: NDArray[np.int64], times: set[int]) -> dict[int, NDArray[np.uint8]]:
        """Return the pictures (h, w, 3) that are shown at these times.

        Args:
            film: the film.
            packets: (p, 3) from a key frame on.
            times: that are wanted, in the film's own unit.
        """
        import av
        from av.error import FFmpegError

        if self._process != os.getpid():  # the first time, or after a fork
            self._forget()
        blob, decoder = self._map(film), self._decoder(film)
        found: dict[int, NDArray[np.uint8]] = {}
        try:
            for position, size, time in packets.tolist():
                packet = av.Packet(blob[position : position + size].tobytes())
                packet.pts = time
                self._keep(decoder.decode(packet), times, found)
            if len(found) < len(times):
                self._keep(decoder.decode(None), times, found)
        except FFmpegError as error:
            raise DataError(f"{film.path}: cannot be decoded ({error}). Restore the file.") from error
        finally:
            decoder.flush_buffers()
        return found

    def _keep(self, frames: Sequence[Any], times: set[int], found: dict[int, NDArray[np.uint8]]) -> None:
        for frame in frames:
            if frame.pts in times:
                found[frame.pts] = self._picture(frame)

    def _forget(self) -> None:
        self._process = os.getpid()
        self._maps: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._contexts: dict[tuple[str, str], Any] = {}
        self._picture = converter()

    def _map(self, film: FilmFile) -> NDArray[np.uint8]:
        if film.path in self._maps:
            self._maps.move_to_end(film.path)
            return self._maps[film.path]
        path = Path(film.path)
        num_bytes = path.stat().st_size if path.exists() else 0
        if num_bytes != film.num_bytes:
            raise DataError(
                f"{path}: has {num_bytes} bytes, it had {film.num_bytes} when it was looked through. Restore the "
                "file, or read the data in again."
            )
        self._maps[film.path] = np.memmap(path, np.uint8, mode="r")
        if len(self._maps) > OPEN:
            self._maps.popitem(last=False)
        return self._maps[film.path]

    def _decoder(self, film: FilmFile) -> Any:  # noqa: ANN401  (PyAV's codec context)
        import av

        kind = (film.codec, film.extradata)
        if kind not in self._contexts:
            context: Any = av.CodecContext.create(film.codec, "r")
            context.extradata = bytes.fromhex(film.extradata)
            context.thread_count, context.thread_type = 1, "NONE"  # threads cost more than a few frames do
            self._contexts[kind] = context
        return self._contexts[kind]


def converter(pixels: str = "rgb24") -> Callable[[Any], NDArray[Any]]:
    """Return a conversion of PyAV's frames to arrays of one of FFmpeg's formats that sets its tables up once."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()

    def convert(frame: Any) -> NDArray[Any]:  # noqa: ANN401
        try:
            picture = reformatter.reformat(frame, format=pixels, threads=1)  # a pool of threads takes longer to start
        except TypeError:  # an older PyAV, which always uses one
            picture = reformatter.reformat(frame, format=pixels)
        return np.asarray(picture.to_ndarray())

    return convert

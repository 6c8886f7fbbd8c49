"""Frames packed as JPEG one after another, decoded when they are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinew.core.errors import DataError

QUALITY = 95
"""Of 1 .. 100; with all colours at full resolution a frame differs by about one level of 255."""


def encode(image: NDArray[np.uint8]) -> bytes:
    """Return an image (3, h, w) as JPEG, colours at full resolution."""
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


class JpegFrames:
    """An array (N, 3, h, w) uint8 whose frames are decoded whenever they are read; nothing is kept.

    It maps its two files, so that processes that were forked read independently of each other.

    Args:
        blob: file of the frames' bytes.
        ends: file of the int64 positions at which they end.
        frames: N.
        shape: (3, h, w).
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, blob: Path, ends: Path, frames: int, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = blob, (frames, *shape)
        self._ends = np.memmap(ends, "<i8", mode="r", shape=(frames,)) if frames else np.zeros(0, np.int64)
        size = int(self._ends[-1]) if frames else 0
        self._blob = np.memmap(blob, np.uint8, mode="r", shape=(size,)) if size else np.zeros(0, np.uint8)
        self._decode = _decoder()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401  (whatever chooses rows of an array)
        return self.take(np.arange(len(self))[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401, FBT001
        return self[:].astype(dtype or np.uint8, copy=False)

    def take(self, frames: Any, axis: int = 0) -> NDArray[Any]:  # noqa: ANN401  (numbers of any shape)
        """Return frames by number, (..., 3, h, w); one that is asked for several times is decoded once.

        Raises:
            DataError: the bytes of a frame are no JPEG of the size wanted; names the file and the frame.
        """
        assert axis == 0
        numbers = np.asarray(frames, dtype=np.int64)
        wanted, places = np.unique(numbers, return_inverse=True)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        scratch = np.empty((*self.shape[2:], 3), np.uint8)
        for place, number in enumerate(wanted.tolist()):
            self._decode_into(scratch, number)
            out[place] = scratch.transpose(2, 0, 1)
        if len(wanted) == numbers.size:
            places = places.reshape(-1)
            if (places == np.arange(len(places))).all():
                return out.reshape(*numbers.shape, *self.shape[1:])
        return out[places.reshape(numbers.shape)]

    def stored(self, first: int, end: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bytes of a run of frames and where, counted from the run's beginning, each frame ends."""
        begin = int(self._ends[first - 1]) if first else 0
        ends = np.asarray(self._ends[first:end], dtype="<i8") - begin
        return np.asarray(self._blob[begin : begin + int(ends[-1])]), ends

    def _decode_into(self, out: NDArray[np.uint8], number: int) -> None:
        begin, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        try:
            self._decode(self._blob[begin:end], out)
        except (ValueError, OSError, SyntaxError) as error:
            raise DataError(
                f"{self.path}: frame {number} cannot be decoded ({error}). Restore the file, or read the data in again."
            ) from error


Decoder = Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]
"""Decodes bytes into an array (h, w, 3)."""


@lru_cache(maxsize=1)
def _decoder() -> Decoder:
    """Return simplejpeg's decoder where it is installed, twice as fast as Pillow's and of the same result."""
    try:
        from simplejpeg import decode_jpeg, decode_jpeg_header
    except ImportError:
        return decode_with_pillow

    def decode(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        height, width, *_ = decode_jpeg_header(content)
        _check_size((int(height), int(width)), out)
        decode_jpeg(content, buffer=out)

    return decode


def decode_with_pillow(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Decode a JPEG into an array (h, w, 3).

    Raises:
        ValueError, OSError, SyntaxError: the bytes are no JPEG, or one of another size.
    """
    with Image.open(io.BytesIO(content.tobytes()), formats=("JPEG",)) as image:
        _check_size((image.height, image.width), out)
        out[:] = np.asarray(image.convert("RGB"))


def _check_size(found: tuple[int, int], out: NDArray[np.uint8]) -> None:
    if found != out.shape[:2]:
        raise ValueError(f"it is {found[0]} x {found[1]} px, {out.shape[0]} x {out.shape[1]} px are wanted")

"""Images and text on disk, every image at one size, for reading at random; ``text_ingest`` fills it.

A store is a directory::

    text.json        schema version and settings; written last
    images.bin       JPEG files or raw (3, h, w) uint8, one after another
    images.i64       where each image ends in it
    records.jsonl    a line a record: its id and turns
    rows.i64         (N, 3): where the record's line ends, how many images there are up to it, CRC-32 of line and images

A row is the commit of its record: what lies beyond the last whole one is cut off by the call that goes on.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.config import from_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import read_json
from sinew.data.config import TextConfig
from sinew.data.formats.image_text import ImageText, Turn
from sinew.data.jpeg import JpegFrames

VERSION = 1
ROW = np.dtype("<i8")


class TextStore:
    """Images and text read in; get one from ``text_ingest.open_text`` or ``open``. Safe after a fork, pickles by path.

    Attributes:
        path: the directory.
        config: how the images were read in.
        images: (K, 3, h, w) uint8 of all records, mapped from the file or decoded when read.
    """

    def __init__(self, path: Path) -> None:
        content = read_json(path / "text.json")
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != VERSION:
            raise DataError(f"{path}: schema version {version}, this sinew reads {VERSION}. Read the data in again.")
        self.path = path
        try:
            self.config = from_dict(TextConfig, content.get("config"), str(path / "text.json"))
        except ConfigError as error:
            raise DataError(str(error)) from error
        rows = self._map("rows.i64", ROW)
        self._rows = rows[: len(rows) // 3 * 3].reshape(-1, 3)
        self._ends = self._map("images.i64", ROW)
        self._images = self._map("images.bin", np.dtype(np.uint8))
        self._lines = self._map("records.jsonl", np.dtype(np.uint8))
        last = self._rows[-1, :2].tolist() if len(rows) else [0, 0]
        wanted = [3 * len(self._rows), *last, int(self._ends[-1]) if len(self._ends) else 0]
        if not len(rows) or [len(rows), len(self._lines), len(self._ends), len(self._images)] != wanted:
            raise DataError(f"{path}: its files do not belong together. Remove it, and read the data in again.")
        shape = (3, *self.config.image_size)
        if self.config.storage == "raw" and len(self._images) != len(self._ends) * int(np.prod(shape)):
            raise DataError(f"{path}: its files do not belong together. Remove it, and read the data in again.")
        self.images: NDArray[np.uint8] | JpegFrames = (
            self._images.reshape(-1, *shape)
            if self.config.storage == "raw"
            else JpegFrames(path / "images.bin", path / "images.i64", len(self._ends), shape)
        )

    @classmethod
    def open(cls, path: Path) -> TextStore:
        """Open a store.

        Raises:
            DataError: missing, of another schema version, or damaged.
        """
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a path, so that every process maps the files itself."""
        return (TextStore.open, (self.path,))

    @property
    def num_records(self) -> int:
        """N."""
        return len(self._rows)

    @property
    def num_images(self) -> int:
        """Images of all records together."""
        return len(self._ends)

    def record(self, number: int) -> ImageText:
        """Read one record, its images (3, h, w) of the store's size.

        Raises:
            DataError: there is none of that number, or the bytes are not those that were committed.
        """
        if not 0 <= number < self.num_records:
            raise DataError(f"{self.path}: no record {number}; there are {self.num_records}, counted from 0.")
        before = self._rows[number - 1] if number else np.zeros(3, ROW)
        line = self._lines[before[0] : self._rows[number, 0]]
        begin = int(self._ends[before[1] - 1]) if before[1] else 0
        ends = self._ends[before[1] : self._rows[number, 1]].tolist()
        content = self._images[begin : ends[-1] if ends else begin]
        if zlib.crc32(content.data, zlib.crc32(line.data)) != self._rows[number, 2]:
            raise DataError(
                f"{self.path}: record {number} is damaged, its checksum differs. "
                "Remove the store, and read the data in again."
            )
        images = self.images[int(before[1]) : int(self._rows[number, 1])]
        name, turns = self.text(number)
        return ImageText(name, tuple(np.asarray(images)), turns)

    def text(self, number: int) -> tuple[str, tuple[Turn, ...]]:
        """Return name and turns of a record; its images are not looked at."""
        begin = int(self._rows[number - 1, 0]) if number else 0
        try:
            row = json.loads(self._lines[begin : self._rows[number, 0]].tobytes())
            return str(row["id"]), tuple(Turn(*turn) for turn in row["turns"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: record {number} is damaged ({error}). Remove the store, and read the data in again."
            ) from error

    def images_of(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return all images of some records (K, 3, h, w), and how many each record has (B,).

        Raises:
            DataError: an image is damaged.
        """
        ends = self._rows[numbers, 1]
        begins = np.where(numbers > 0, self._rows[numbers - 1, 1], 0)
        counts = ends - begins
        places = np.arange(counts.sum()) + np.repeat(begins - np.cumsum(counts) + counts, counts)
        return self.images.take(places, axis=0), counts

    def split(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of records to train on and of a share of them held out, the same ones every time.

        Raises:
            ConfigError: the share leaves no record to train on.
        """
        count = int(np.ceil(share * self.num_records))
        if share < 0 or count >= self.num_records:
            raise ConfigError(f"held out is {share:g} of {self.num_records} records; one must stay for training.")
        order = np.random.default_rng((VERSION, self.num_records)).permutation(self.num_records)
        return np.sort(order[count:]), np.sort(order[:count])

    def _map(self, name: str, kind: np.dtype[Any]) -> NDArray[Any]:
        """Return a file as a read-only array."""
        path = self.path / name
        if not path.is_file():
            raise DataError(f"{path}: is missing. Remove the store, and read the data in again.")
        count = path.stat().st_size // kind.itemsize
        return np.asarray(np.memmap(path, kind, mode="r", shape=(count,))) if count else np.zeros(0, kind)

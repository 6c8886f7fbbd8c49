"""Files of records, one after another: TFRecord by our own reader, array_record by its package.

TFRecord::

    uint64 length | uint32 masked CRC-32C of it | length bytes | uint32 masked CRC-32C of them     little-endian
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sinew.core.crc32c import masked
from sinew.core.errors import DataError, require

HEAD, TAIL = 12, 4
ADVICE = "Restore the file from a copy."


@dataclass(frozen=True)
class Record:
    """Where a record lies.

    Attributes:
        path: the file.
        number: of the record in it, from 0.
        start: first byte in a TFRecord file; -1 in an array_record, which is asked by number.
        size: bytes.
    """

    path: Path
    number: int
    start: int
    size: int

    @property
    def where(self) -> str:
        """File and number, for messages."""
        return f"{self.path}: record {self.number}"


def scan(path: Path) -> Iterator[tuple[Record, memoryview]]:
    """Yield the records of a file; the contents of a TFRecord are mapped and not yet checked.

    Raises:
        DataError: the file is missing, cut off, or of another kind.
    """
    try:
        present = path.is_file()
    except OSError:  # a name of 300 letters
        present = False
    if not present:
        raise DataError(f"{path}: no such file. Restore it, all shards are needed.")
    yield from _scan_array_record(path) if is_array_record(path) else _scan_tfrecord(path)


def read(record: Record) -> memoryview:
    """Return the content of one record, checked against its CRC.

    Raises:
        DataError: it is damaged, or the file has changed since it was scanned.
    """
    if record.start < 0:
        with _ArrayRecord(record.path) as file:
            return memoryview(file.read([record.number])[0])
    try:
        with record.path.open("rb") as file:
            file.seek(record.start)
            content = file.read(record.size + TAIL)
    except OSError as error:
        raise DataError(f"{record.where}: cannot be read ({error.strerror}). {ADVICE}") from error
    if len(content) != record.size + TAIL:
        raise DataError(f"{record.where}: is cut off; {record.size + TAIL} bytes are needed. {ADVICE}")
    body = memoryview(content)[: record.size]
    if masked(body) != int.from_bytes(content[record.size :], "little"):
        raise DataError(f"{record.where}: its content does not fit its CRC. {ADVICE}")
    return body


def is_array_record(path: Path) -> bool:
    """Return whether a file is an array_record by its name, as TensorFlow Datasets writes it."""
    return ".array_record" in path.name


def _scan_tfrecord(path: Path) -> Iterator[tuple[Record, memoryview]]:
    size = path.stat().st_size
    if size == 0:
        return
    with path.open("rb") as file:  # never closed by hand: the slices that were yielded keep it mapped
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    place = number = 0
    while place < size:
        head = bytes(mapped[place : place + HEAD])
        length = int.from_bytes(head[:8], "little")
        if len(head) == HEAD and masked(head[:8]) != int.from_bytes(head[8:], "little"):
            raise DataError(
                f"{path}: record {number}: the CRC of its length is wrong at byte {place}. This is no TFRecord, a "
                f"compressed one, or a damaged one. {ADVICE}"
            )
        if len(head) < HEAD or length > size - place - HEAD - TAIL:
            raise DataError(f"{path}: record {number}: the file is cut off at byte {size}. {ADVICE}")
        start = place + HEAD
        yield Record(path, number, start, length), mapped[start : start + length]
        place, number = start + length + TAIL, number + 1


def _scan_array_record(path: Path) -> Iterator[tuple[Record, memoryview]]:
    with _ArrayRecord(path) as file:
        for number in range(file.count):
            content = memoryview(file.read([number])[0])
            yield Record(path, number, -1, len(content)), content


class _ArrayRecord:
    """An open array_record, whose errors name the file."""

    def __init__(self, path: Path) -> None:
        module = require("array_record.python.array_record_module", extra="rlds")
        self._path = path
        try:
            self._reader = module.ArrayRecordReader(str(path))
            self.count = int(self._reader.num_records())
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._error(error) from error

    def read(self, numbers: list[int]) -> list[bytes]:
        """Return records by number."""
        try:
            return self._reader.read(numbers)
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._error(error) from error

    def __enter__(self) -> _ArrayRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def _error(self, error: Exception) -> DataError:
        return DataError(f"{self._path}: cannot be read as array_record ({error}). {ADVICE}")

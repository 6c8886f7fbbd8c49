"""MCAP files: their messages by the index beside each chunk, or by looking into chunks that have none.

Written after the specification (mcap.dev/spec). Chunks that have an index are not unpacked to be listed. A file must
end with its footer and magic: one that was cut off is refused, as nothing says what is missing. The package ``mcap``
is the judge in tests; it is not used, because it unpacks chunks to any size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Channel, Entries, LogFile, Window, entries_of, read_at, sorted_entries, unpack

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX = 2, 3, 4, 5, 6, 7
DATA_END = 15
HEAD = 9
"""Bytes before each record: its kind and its length."""
LOOSE = -1
"""Stands for a chunk where a message lies in none."""
ROS = ("ros2msg", "ros1msg")


@dataclass
class _Found:
    """What was found in a file so far."""

    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    rows: list[Entries] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    indexed: set[int] = field(default_factory=set)


def is_mcap(path: Path) -> bool:
    """Return whether a file begins like MCAP."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_mcap(path: Path) -> LogFile:
    """Look through a file.

    Raises:
        DataError: damaged or cut off.
    """
    found = _Found()
    _look_through(path, found)
    known = {int(rows["channel"][0]) for rows in found.rows} <= {*found.channels}
    for place in found.chunks:
        if place not in found.indexed or not known:
            _look_into(path, place, found, keep=place not in found.indexed)
    entries = sorted_entries(found.rows)
    channels = {number: _channel(path, number, found) for number in np.unique(entries["channel"]).tolist()}
    return LogFile(path, channels, entries, lambda entries: _fetch(path, entries))


def _look_through(path: Path, found: _Found) -> None:
    """Read all records outside chunks; of chunks only the place."""
    size, place, last = path.stat().st_size, len(MAGIC), LOOSE
    if read_at(path, 0, len(MAGIC)) != MAGIC:
        raise DataError(f"{path}: does not begin like an MCAP file.")
    with path.open("rb") as file:
        ended = False
        while place + HEAD <= size:
            file.seek(place)
            head = Window(file.read(HEAD), f"{path}: record at byte {place}")
            kind, length = head.number("<B"), head.number("<Q")
            if length > size - place - HEAD:
                raise DataError(
                    f"{path}: the record at byte {place} has {length} bytes, the file ends after "
                    f"{size - place - HEAD}. It was cut off; restore it from a copy."
                )
            if kind == CHUNK:
                last = place
                found.chunks.append(place)
            elif kind in (SCHEMA, CHANNEL, MESSAGE, INDEX):
                record = Window(read_at(path, place + HEAD, length), head.where)
                _note(kind, record, found, chunk=last if kind == INDEX else LOOSE, offset=place)
            place += HEAD + length
            if kind == FOOTER:
                ended = True
                break
        if not ended or read_at(path, place, size - place) != MAGIC:
            raise DataError(f"{path}: has no end, so messages may be missing. Run 'mcap recover' on it.")


def _look_into(path: Path, place: int, found: _Found, *, keep: bool) -> None:
    """Read the records of a chunk; ``keep`` its messages, or its channels only."""
    window = Window(_chunk(path, place), f"{path}: chunk at byte {place}")
    while window.left:
        offset = window.place
        kind, length = window.number("<B"), window.number("<Q")
        record = Window(window.take(length), f"{window.where}, record at {offset}")
        if kind in (SCHEMA, CHANNEL) or (kind == MESSAGE and keep):
            _note(kind, record, found, chunk=place, offset=offset)


def _note(kind: int, record: Window, found: _Found, *, chunk: int, offset: int) -> None:
    if kind == SCHEMA:
        number, name, encoding = record.number("<H"), record.text(), record.text()
        content = bytes(record.take(record.number("<I")))
        text = content.decode(errors="replace") if encoding in ROS else ""
        found.schemas[number] = (name, text)
    elif kind == CHANNEL:
        number, schema = record.number("<H"), record.number("<H")
        found.channels[number] = (schema, record.text(), record.text())
    elif kind == MESSAGE:
        number, _, stamp = record.number("<H"), record.number("<I"), record.number("<Q")
        found.rows.append(entries_of(np.array([stamp], np.uint64), number, chunk, np.array([offset]), record.where))
    elif kind == INDEX:
        number, size = record.number("<H"), record.number("<I")
        if size % 16:
            raise DataError(f"{record.where}: an index of {size} bytes, a multiple of 16 is needed. Restore the file.")
        pairs = np.frombuffer(record.take(size), "<u8").reshape(-1, 2)
        found.indexed.add(chunk)
        if size:
            found.rows.append(entries_of(pairs[:, 0], number, chunk, pairs[:, 1], record.where))


def _channel(path: Path, number: int, found: _Found) -> Channel:
    if number not in found.channels:
        raise DataError(f"{path}: messages are on channel {number}, which is described nowhere. Restore the file.")
    schema, topic, encoding = found.channels[number]
    name, text = found.schemas.get(schema, ("", ""))
    return Channel(topic, name, encoding, text)


@lru_cache(maxsize=2)
def _unpacked(path: Path, place: int, _changed: int) -> bytes:
    where = f"{path}: chunk at byte {place}"
    head = Window(read_at(path, place, HEAD), where)
    head.take(1)
    record = Window(read_at(path, place + HEAD, head.number("<Q")), where)
    record.take(16)
    size, crc, method = record.number("<Q"), record.number("<I"), record.text()
    content = unpack(record.take(record.number("<Q")), method, size, where)
    if crc and zlib.crc32(content) != crc:
        raise DataError(f"{where}: is damaged, its checksum differs. Restore the file from a copy.")
    return content


def _chunk(path: Path, place: int) -> bytes:
    """Return an unpacked chunk; the last two are kept, as messages are read in order."""
    return _unpacked(path, place, path.stat().st_mtime_ns)


def _fetch(path: Path, entries: Entries) -> Iterator[bytes]:
    for stamp, channel, chunk, offset, _ in entries.tolist():
        where = f"{path}: message of {stamp} ns"
        if chunk == LOOSE:
            head = Window(read_at(path, offset, HEAD), where)
            kind, length = head.number("<B"), head.number("<Q")
            record = Window(read_at(path, offset + HEAD, length), where)
        else:
            window = Window(_chunk(path, chunk), where)
            window.take(offset)
            kind, length = window.number("<B"), window.number("<Q")
            record = Window(window.take(length), where)
        found = (record.number("<H"), record.number("<I"), record.number("<Q"))
        if kind != MESSAGE or (found[0], found[2]) != (channel, stamp):
            raise DataError(f"{where}: the index leads elsewhere. Run 'mcap recover' on the file.")
        record.take(8)
        yield bytes(record.take(record.left))

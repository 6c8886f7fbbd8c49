"""A log of messages: its channels and where each message lies, and bytes read and unpacked within limits."""

from __future__ import annotations

import bz2
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError, require

MAX_CHUNK = 1 << 28
"""Bytes of the largest part of a log that is held at once, packed or unpacked."""
ENTRY = np.dtype([("stamp", "<i8"), ("channel", "<i4"), ("chunk", "<i8"), ("offset", "<i8"), ("file", "<i4")])
"""A message: when it was logged [ns], on which channel, and where it lies; ``file`` is filled in by ``Log``."""
Entries = NDArray[np.void]
LATEST = 2**63 - 1


@dataclass(frozen=True)
class Channel:
    """One stream of messages.

    Attributes:
        topic: its name, such as /joint_states.
        kind: name of the message type, such as sensor_msgs/JointState.
        encoding: how messages are written: cdr (ROS 2), ros1 or json.
        definition: text of the message definition; "" where the log has none.
    """

    topic: str
    kind: str
    encoding: str
    definition: str = ""


@dataclass(frozen=True)
class LogFile:
    """A log that was looked through; holds no file open.

    Attributes:
        path: the file.
        channels: by the number that entries name them with.
        entries: all messages in the order of their stamps.
        fetch: yields the bytes of some entries, in the order given; cheapest in the order of the file.
    """

    path: Path
    channels: Mapping[int, Channel]
    entries: Entries
    fetch: Callable[[Entries], Iterator[bytes]]


class Log:
    """Messages by topic of one recording, which may lie in several files.

    Args:
        path: of the recording.
        files: its files, opened.

    Attributes:
        path: of the recording.
        channels: by topic.
        mixed: topics whose messages are of several types, and which.
    """

    def __init__(self, path: Path, files: Sequence[LogFile]) -> None:
        self.path, self._files = path, tuple(files)
        self.channels: dict[str, Channel] = {}
        self.mixed: dict[str, str] = {}
        for channel in (channel for file in files for channel in file.channels.values()):
            known = self.channels.setdefault(channel.topic, channel)
            if (known.kind, known.encoding, _bare(known)) != (channel.kind, channel.encoding, _bare(channel)):
                self.mixed[channel.topic] = f"{known.kind} ({known.encoding}) and {channel.kind} ({channel.encoding})"
        self._lists = {topic: self._list(topic) for topic in self.channels}

    def stamps(self, topic: str) -> NDArray[np.int64]:
        """Return when the messages of a topic were logged [ns], ascending; none where there is no such topic."""
        return self._lists[topic]["stamp"] if topic in self._lists else np.zeros(0, np.int64)

    def read(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[tuple[str, int, bytes]]:
        """Yield some messages in the order in which they lie in the files.

        Args:
            wanted: which messages of each topic, counted as in ``stamps``.

        Yields:
            Topic, number of the message and its bytes.
        """
        topics = list(wanted)
        parts = [self._lists[topic][wanted[topic]] for topic in topics]
        entries = np.concatenate([np.zeros(0, ENTRY), *parts])
        owner = np.repeat(np.arange(len(topics)), [len(part) for part in parts])
        number = np.concatenate([np.zeros(0, np.int64), *(wanted[topic] for topic in topics)])
        order = np.lexsort((entries["offset"], entries["chunk"], entries["file"]))
        for place in np.split(order, np.flatnonzero(np.diff(entries["file"][order])) + 1):
            if len(place):
                contents = self._files[entries["file"][place[0]]].fetch(entries[place])
                for row, content in zip(place.tolist(), contents, strict=True):
                    yield topics[owner[row]], int(number[row]), content

    def _list(self, topic: str) -> Entries:
        """Return all messages of a topic, each with the number of its file."""
        parts: list[Entries] = []
        for number, file in enumerate(self._files):
            mine = [key for key, channel in file.channels.items() if channel.topic == topic]
            chosen = file.entries[np.isin(file.entries["channel"], mine)]
            chosen["file"] = number
            parts.append(chosen)
        return sorted_entries(parts)


class Window:
    """Bytes that are read from front to back, and refused where they end too early.

    Args:
        content: the bytes.
        where: file and part, for messages.
    """

    def __init__(self, content: bytes | memoryview, where: str) -> None:
        self.content, self.where, self.place = memoryview(content), where, 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.content) - self.place

    def take(self, count: int) -> memoryview:
        """Return the next bytes.

        Raises:
            DataError: there are fewer.
        """
        if count > self.left:
            raise DataError(
                f"{self.where}: {count} bytes are wanted at byte {self.place}, {self.left} are left. "
                "It was cut off or damaged; restore it from a copy."
            )
        self.place += count
        return self.content[self.place - count : self.place]

    def number(self, form: str) -> int:
        """Return one integer in a form of ``struct``, such as ``<I``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, form: str = "<I") -> str:
        """Return a text that stands behind its length.

        Raises:
            DataError: it is not UTF-8, or cut off.
        """
        content = bytes(self.take(self.number(form)))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where}: a text at byte {self.place} is not UTF-8 ({error}).") from error


def read_at(path: Path, place: int, count: int) -> bytes:
    """Return bytes of a file.

    Raises:
        DataError: the file ends before, or they are more than ``MAX_CHUNK``.
    """
    if count > MAX_CHUNK:
        raise DataError(f"{path}: a part of {count} bytes at byte {place}; {MAX_CHUNK} are the most that is read.")
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if place + count > size:
                raise DataError(
                    f"{path}: ends at byte {size}, {count} bytes were expected from {place} on. "
                    "It was cut off; restore it from a copy."
                )
            file.seek(place)
            return file.read(count)
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: could not be read at byte {place} ({error}).") from error


def unpack(packed: bytes | memoryview, method: str, size: int, where: str) -> bytes:
    """Return what was packed, never more than the size it says to have.

    Args:
        packed: the bytes.
        method: "", "none", "zstd", "lz4" or "bz2".
        size: unpacked bytes, as the log says.
        where: file and part, for messages.

    Raises:
        DataError: damaged, of another size, too large, or packed in a way that is not known.
    """
    if size > MAX_CHUNK:
        raise DataError(f"{where}: would unpack to {size} bytes; {MAX_CHUNK} are the most that is read.")
    try:
        content = _unpacked(packed, method, size, where)
    except (RuntimeError, ValueError, OSError, EOFError, MemoryError, zlib.error) as error:
        raise DataError(f"{where}: cannot be unpacked ({error}). Restore the file from a copy.") from error
    if len(content) != size:
        raise DataError(f"{where}: unpacks to another size than the {size} bytes it says. Restore it from a copy.")
    return content


def _unpacked(packed: bytes | memoryview, method: str, size: int, where: str) -> bytes:
    """Return at most one byte more than ``size``."""
    if method in ("", "none"):
        return bytes(packed)
    if method == "bz2":
        return bz2.BZ2Decompressor().decompress(bytes(packed), max_length=size + 1)
    if method == "lz4":
        lz4 = require("lz4.frame", extra="logs")
        return lz4.LZ4FrameDecompressor().decompress(bytes(packed), max_length=size + 1)
    if method == "zstd":
        zstandard = require("zstandard", extra="logs")
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(bytes(packed)) as stream:
                return stream.read(size + 1)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
    raise DataError(f"{where}: is packed as {method[:40]!r}; zstd, lz4, bz2 and none are known.")


def entries_of(
    stamps: NDArray[np.integer[Any]], channel: int, chunk: int, offsets: NDArray[np.integer[Any]], where: str
) -> Entries:
    """Return messages of one channel in one chunk.

    Raises:
        DataError: a stamp or an offset is none.
    """
    if stamps.size and (stamps.max() > LATEST or offsets.max() > LATEST):
        raise DataError(
            f"{where}: a message of the time {stamps.max()} ns, which is none. Restore the file from a copy."
        )
    entries = np.zeros(len(stamps), ENTRY)
    for name, values in (("stamp", stamps), ("channel", channel), ("chunk", chunk), ("offset", offsets)):
        entries[name] = values
    return entries


def _bare(channel: Channel) -> str:
    """Return a definition without its remarks and spaces."""
    return " ".join(re.sub(r"#[^\n]*", "", channel.definition).split())


def sorted_entries(parts: Sequence[Entries]) -> Entries:
    """Return messages in the order of their stamps, those of one stamp as they were given."""
    entries = np.concatenate([np.zeros(0, ENTRY), *parts])
    return entries[np.argsort(entries["stamp"], kind="stable")]

"""Bags of ROS 2 kept in SQLite; those kept in MCAP are read as MCAP.

Read are the tables ``topics`` and ``messages`` and, where the recorder wrote it (from ROS 2 Iron on), the table of
message definitions. For older bags definitions of well-known types come from the package ``rosbags``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from sinew.core.errors import DataError, require
from sinew.data.formats.log_file import ENTRY, MAX_CHUNK, Channel, Entries, LogFile, sorted_entries, unpack

MAGIC = b"SQLite format 3\0"
ZSTD = b"\x28\xb5\x2f\xfd"
MAX_STEPS = 2000
"""Millions of steps that reading may take; a file can hold queries that never end."""


def is_rosbag2(path: Path) -> bool:
    """Return whether a file begins like SQLite and is named like a bag."""
    if not path.is_file() or path.suffix != ".db3":
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_rosbag2(path: Path) -> LogFile:
    """Look through a bag.

    Raises:
        DataError: damaged, without the tables of a bag, or never closed.
    """
    journal = path.with_name(f"{path.name}-wal")
    if journal.exists() and journal.stat().st_size:
        raise DataError(f"{path}: was never closed, {journal.name} holds messages of it. Run 'ros2 bag reindex' on it.")
    with _opened(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"topics", "messages"} <= tables:
            raise DataError(f"{path}: has no tables topics and messages, but {', '.join(sorted(tables)) or 'none'}.")
        texts: dict[str, str] = {}
        if "message_definitions" in tables:
            query = "SELECT topic_type, encoded_message_definition FROM message_definitions WHERE encoding = 'ros2msg'"
            texts = {str(kind): str(text) for kind, text in database.execute(query)}
        channels = {
            int(number): Channel(str(topic), str(kind), str(encoding), texts.get(str(kind), ""))
            for number, topic, kind, encoding in database.execute(
                "SELECT id, name, type, serialization_format FROM topics"
            )
        }
        found = database.execute("SELECT timestamp, topic_id, 0, id, 0 FROM messages")
        entries = sorted_entries([np.fromiter(found, ENTRY)])
    lost = sorted({*np.unique(entries["channel"]).tolist()} - {*channels})
    if lost:
        raise DataError(f"{path}: messages are on topic {lost[0]}, which is described nowhere. Restore the file.")
    return LogFile(path, channels, entries, lambda entries: _fetch(path, entries))


def known_definition(kind: str) -> str:
    """Return the definition of a type that comes with ROS 2, "" where it does not."""
    rosbags = require("rosbags.typesys", extra="logs")
    store = rosbags.get_typestore(rosbags.Stores.ROS2_HUMBLE)
    parts = kind.split("/")
    name = f"{parts[0]}/msg/{parts[-1]}"
    if name not in store.fielddefs:
        return ""
    return str(store.generate_msgdef(name, ros_version=2)[0])


@contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    """Yield the database, opened so that nothing is written and nothing but the file is read."""
    steps = iter(range(MAX_STEPS))
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CHUNK)
            database.execute("PRAGMA trusted_schema = OFF")
            database.set_progress_handler(lambda: next(steps, None) is None, 1_000_000)
            yield database
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: cannot be read as a bag ({error}). Restore it from a copy.") from error


def _fetch(path: Path, entries: Entries) -> Iterator[bytes]:
    with _opened(path) as database:
        for stamp, channel, _, place, _ in entries.tolist():
            query = "SELECT data FROM messages WHERE id = ? AND topic_id = ?"
            row = database.execute(query, (place, channel)).fetchone()
            where = f"{path}: message of {stamp} ns"
            if row is None or not isinstance(row[0], bytes):
                raise DataError(f"{where}: has no bytes. Restore the file from a copy.")
            yield _plain(row[0], where)


def _plain(content: bytes, where: str) -> bytes:
    """Return a message, unpacked where the recorder packed each by itself."""
    if content[:4] != ZSTD:
        return content
    size = require("zstandard", extra="logs").frame_content_size(content)
    if size < 0:
        raise DataError(f"{where}: does not say its size. Convert the bag without packing.")
    return unpack(content, "zstd", size, where)

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import NonSeekingReader
from mcap.writer import CompressionType, Writer

from data.formats.bags import contents
from sinew.core.errors import DataError
from sinew.data.formats.log_file import Log
from sinew.data.formats.mcap_file import MAGIC, is_mcap, open_mcap

CHUNK, CHANNEL, SCHEMA, INDEX, FOOTER = 6, 4, 3, 7, 2


def written(path: Path, **options: Any) -> Path:  # noqa: ANN401
    """Write twenty messages on two topics, stamps out of order."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=200, **options)
        writer.start()
        schema = writer.register_schema("S", "jsonschema", b"{}")
        channels = [writer.register_channel(topic, "json", schema) for topic in ("/a", "/b")]
        for number in range(20):
            stamp = 1000 + 10 * (number ^ 3)
            writer.add_message(channels[number % 2], stamp, b'{"n": %d}' % number, stamp)
        writer.finish()
    return path


def records(content: bytes) -> list[tuple[int, bytes]]:
    """Return the records of a file."""
    place, found = len(MAGIC), []
    while place < len(content) - len(MAGIC):
        kind, length = struct.unpack_from("<BQ", content, place)
        found.append((kind, content[place + 9 : place + 9 + length]))
        place += 9 + length
    return found


def rewritten(path: Path, change: Callable[[int, bytes], bytes | None]) -> None:
    """Write a file again with each record as ``change`` returns it; None leaves it out."""
    changed = [(kind, change(kind, body)) for kind, body in records(path.read_bytes())]
    parts = [struct.pack("<BQ", kind, len(body)) + body for kind, body in changed if body is not None]
    path.write_bytes(MAGIC + b"".join(parts) + MAGIC)


def content_of(path: Path) -> list[tuple[str, int, bytes]]:
    return contents(Log(path, [open_mcap(path)]))


def judged(path: Path) -> list[tuple[str, int, bytes]]:
    """Return what the package mcap reads."""
    with path.open("rb") as file:
        messages = list(NonSeekingReader(file).iter_messages())
    return sorted((channel.topic, message.log_time, bytes(message.data)) for _, channel, message in messages)


OPTIONS: dict[str, dict[str, Any]] = {
    "zstd": {"compression": CompressionType.ZSTD},
    "lz4": {"compression": CompressionType.LZ4},
    "not packed": {"compression": CompressionType.NONE},
    "no chunks": {"use_chunking": False},
    "no summary": {"use_summary_offsets": False, "repeat_channels": False, "repeat_schemas": False},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_messages_are_those_that_the_library_reads(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.mcap", **OPTIONS[name])
    assert content_of(path) == judged(path)
    assert is_mcap(path)


def test_chunks_without_an_index_are_looked_into(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mcap")
    wanted = content_of(path)
    rewritten(path, lambda kind, body: None if kind == INDEX else body)
    assert content_of(path) == wanted


def flipped(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


BAD: dict[str, tuple[Callable[[int, bytes], bytes | None], str]] = {
    "chunk": (lambda kind, body: flipped(body, len(body) - 20) if kind == CHUNK else body, "chunk at byte"),
    "checksum": (lambda kind, body: flipped(body, 24) if kind == CHUNK else body, "its checksum differs"),
    "size": (lambda kind, body: flipped(body, 16) if kind == CHUNK else body, "another size|cannot be unpacked"),
    "index": (lambda kind, body: flipped(body, 14) if kind == INDEX else body, "the index leads elsewhere|are wanted"),
    "odd index": (lambda kind, body: body[:2] + b"\x01\0\0\0x" if kind == INDEX else body, "a multiple of 16"),
    "stamp": (lambda kind, body: body[:6] + b"\xff" * 8 + body[14:] if kind == INDEX else body, "which is none"),
    "no footer": (lambda kind, body: None if kind == FOOTER else body, "has no end"),
    "packing": (lambda kind, body: body.replace(b"zstd", b"abcd") if kind == CHUNK else body, "is packed as 'abcd'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.mcap")
    rewritten(path, BAD[name][0])
    with pytest.raises(DataError, match=BAD[name][1]) as caught:
        content_of(path)
    assert str(path) in str(caught.value)


def test_messages_on_an_undescribed_channel_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mcap", use_chunking=False)
    rewritten(path, lambda kind, body: None if kind == CHANNEL else body)
    with pytest.raises(DataError, match="on channel 1, which is described nowhere"):
        open_mcap(path)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"x" * 100)
    assert not is_mcap(tmp_path / "a.mcap")
    assert not is_mcap(tmp_path)
    with pytest.raises(DataError, match="does not begin like an MCAP file"):
        open_mcap(tmp_path / "a.mcap")

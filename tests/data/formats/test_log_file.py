from __future__ import annotations

import bz2
from collections.abc import Iterator
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import zstandard

from sinew.core.errors import DataError
from sinew.data.formats.log_file import MAX_CHUNK, Channel, Entries, Log, LogFile, Window, entries_of, read_at, unpack

PACK = {"zstd": zstandard.compress, "lz4": lz4.frame.compress, "bz2": bz2.compress, "none": bytes, "": bytes}


@pytest.mark.parametrize("method", PACK)
def test_what_was_packed_is_unpacked(method: str) -> None:
    content = bytes(range(256)) * 9
    assert unpack(PACK[method](content), method, len(content), "here") == content


@pytest.mark.parametrize("method", PACK)
def test_a_false_size_or_damaged_bytes_are_refused(method: str) -> None:
    content = bytes(1 << 20)
    packed = PACK[method](content)
    for size in (100, len(content) - 1, len(content) + 1):
        with pytest.raises(DataError, match=r"here: (unpacks to another size|cannot be unpacked)"):
            unpack(packed, method, size, "here")
    with pytest.raises(DataError, match="here"):
        unpack(packed[: len(packed) // 2], method, len(content), "here")


def test_a_bomb_is_refused_by_the_size_it_claims_and_never_unpacked_further() -> None:
    with pytest.raises(DataError, match="are the most that is read"):
        unpack(b"", "zstd", MAX_CHUNK + 1, "here")
    bomb = lz4.frame.compress(bytes(1 << 26))
    with pytest.raises(DataError, match="unpacks to another size"):
        unpack(bomb, "lz4", 10, "here")


def test_an_unknown_packing_is_named() -> None:
    with pytest.raises(DataError, match="is packed as 'brotli'"):
        unpack(b"", "brotli", 0, "here")


def test_a_window_is_read_to_its_end_and_no_further() -> None:
    window = Window(b"\x01\x00\x00\x00a\x02\x00\x00\x00\xff\xfe", "here")
    assert window.text() == "a"
    with pytest.raises(DataError, match="here: a text at byte 11 is not UTF-8"):
        window.text()
    with pytest.raises(DataError, match="here: 1 bytes are wanted at byte 11, 0 are left"):
        window.take(1)


def test_a_file_is_read_where_it_has_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    assert read_at(tmp_path / "a", 2, 3) == b"cde"
    for place, count, words in ((4, 3, "ends at byte 6"), (1 << 70, 1, "a"), (0, MAX_CHUNK + 1, "most that is read")):
        with pytest.raises(DataError, match=words):
            read_at(tmp_path / "a", place, count)
    with pytest.raises(DataError, match="could not be read"):
        read_at(tmp_path / "none", 0, 1)


def file_of(name: str, stamps: list[int], channels: dict[int, Channel]) -> LogFile:
    """Return a log whose messages say in which file and where they lie, its messages in turn on its channels."""
    numbers = [*channels]
    parts = [entries_of(np.array([stamp]), numbers[row % len(numbers)], 0, np.array([row]), name)
             for row, stamp in enumerate(stamps)]  # fmt: skip

    def fetch(entries: Entries) -> Iterator[bytes]:
        yield from (f"{name}{offset}".encode() for offset in entries["offset"])

    return LogFile(Path(name), channels, np.concatenate(parts), fetch)


def test_messages_of_several_files_are_one_log() -> None:
    joint, image = Channel("/joint", "a/J", "cdr", "int32 x # one"), Channel("/image", "a/I", "cdr")
    again = Channel("/joint", "a/J", "cdr", "int32   x")
    log = Log(Path("log"), [file_of("b", [50, 60, 70, 80], {1: joint, 2: image}), file_of("a", [10, 75], {9: again})])
    assert log.stamps("/joint").tolist() == [10, 50, 70, 75]
    assert log.stamps("/none").tolist() == []
    assert log.mixed == {}
    wanted = {"/image": np.array([1]), "/joint": np.array([0, 1, 3])}
    found = list(log.read(wanted))
    assert found == [("/joint", 1, b"b0"), ("/image", 1, b"b3"), ("/joint", 0, b"a0"), ("/joint", 3, b"a1")]
    assert list(log.read({})) == []


def test_topics_of_two_types_are_remembered() -> None:
    log = Log(Path("log"), [file_of("a", [1], {1: Channel("/x", "a/J", "cdr")}),
                            file_of("b", [2], {1: Channel("/x", "a/K", "cdr")})])  # fmt: skip
    assert log.mixed == {"/x": "a/J (cdr) and a/K (cdr)"}


def test_stamps_beyond_time_are_refused() -> None:
    with pytest.raises(DataError, match="of the time 18446744073709551615 ns"):
        entries_of(np.array([2**64 - 1], np.uint64), 1, 0, np.array([0]), "here")

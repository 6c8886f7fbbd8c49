"""Event files: framed and checked as TFRecords; tests/parity/trackers lets TensorBoard itself read them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sinew.core.crc32c import masked
from sinew.engine.events import EventFile


def events(path: Path) -> Iterator[bytes]:
    """Yield the events of a file, their checksums compared."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        event = content[place + 12 : place + 12 + size]
        checks = struct.unpack_from("<I", content, place + 8) + struct.unpack_from("<I", content, place + 12 + size)
        assert checks == (masked(content[place : place + 8]), masked(event))
        yield event
        place += size + 16


def test_row_is_one_event_with_all_its_numbers(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.numbers(300, {"loss": 0.5, "lr": 1e-3})
    file.close()
    version, row = events(file.path)
    assert version.endswith(b"\x1a\x0dbrain.Event:2")
    assert row[9:12] == b"\x10\xac\x02"  # field 2, varint 300
    assert b"\x0a\x04loss\x15" + struct.pack("<f", 0.5) in row
    assert b"\x0a\x02lr\x15" + struct.pack("<f", 1e-3) in row


def test_session_that_goes_on_voids_what_came_after(tmp_path: Path) -> None:
    file = EventFile(tmp_path, step=20)
    _, start = events(file.path)
    assert start[9:] == b"\x10\x15\x3a\x02\x08\x01"  # step 21, session_log {status: START}
    file.close()


def test_picture_has_its_size_and_text_its_words(tmp_path: Path) -> None:
    Image.new("RGB", (7, 5)).save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    file = EventFile(tmp_path / "deep" / "er")
    file.picture(1, "curves", png)
    file.text(1, "findings", "**overfitting**")
    file.close()
    _, picture, text = events(file.path)
    assert b"\x08\x05\x10\x07\x18\x04" in picture
    assert png in picture
    assert b"**overfitting**" in text

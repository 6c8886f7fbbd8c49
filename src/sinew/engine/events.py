"""TensorBoard's event files, written without TensorBoard: it is needed only to look at them.

A file is a sequence of TFRecords, each a protocol buffer ``Event``::

    Event        { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
                   SessionLog session_log = 7; }
    Summary      { repeated Value value = 1; }
    Value        { string tag = 1; float simple_value = 2; Image image = 4; Tensor tensor = 8; Metadata metadata = 9; }
    Image        { int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes png = 4; }
    Metadata     { PluginData plugin_data = 1 { string plugin_name = 1; } }
    Tensor       { DataType dtype = 1; Shape shape = 2 { Dim dim = 2 { int64 size = 1; } };
                   repeated bytes string_val = 8; }
    SessionLog   { Status status = 1; }
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from sinew.core.crc32c import masked

VERSION = b"brain.Event:2"
STRING = 7
"""DataType of bytes."""
START = 1
"""Status of a session: what an earlier one wrote for this step and later ones is void."""
RGBA = 4


class EventFile:
    """Appends numbers, pictures and texts to a new event file of a directory.

    Args:
        directory: made when needed; TensorBoard takes all its files together.
        step: after which this session goes on: what earlier files hold of later ones is not shown any more.
    """

    def __init__(self, directory: Path, *, step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self.path = directory / f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = self.path.open("xb")
        self._event(0, _bytes(3, VERSION))
        if step:
            self._event(step + 1, _bytes(7, _int(1, START)))

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append scalars by name, all of one step."""
        values = [_bytes(1, name.encode()) + _float(2, number) for name, number in numbers.items()]
        self._event(step, _bytes(5, b"".join(_bytes(1, value) for value in values)))

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Append a PNG."""
        width, height = struct.unpack(">II", png[16:24])  # of the IHDR chunk, which always comes first
        image = _int(1, height) + _int(2, width) + _int(3, RGBA) + _bytes(4, png)
        self._event(step, _bytes(5, _bytes(1, _bytes(1, name.encode()) + _bytes(4, image))))

    def text(self, step: int, name: str, text: str) -> None:
        """Append Markdown."""
        tensor = _int(1, STRING) + _bytes(2, _bytes(2, _int(1, 1))) + _bytes(8, text.encode())
        plugin = _bytes(9, _bytes(1, _bytes(1, b"text")))
        self._event(step, _bytes(5, _bytes(1, _bytes(1, name.encode()) + _bytes(8, tensor) + plugin)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _event(self, step: int, content: bytes) -> None:
        event = struct.pack("<Bd", 1 << 3 | 1, time.time()) + _int(2, step) + content
        length = struct.pack("<Q", len(event))
        checks = (struct.pack("<I", masked(part)) for part in (length, event))
        self._file.write(length + next(checks) + event + next(checks))
        self._file.flush()  # so that TensorBoard follows a running training


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content

"""Messages of ROS 1 and ROS 2 as dictionaries, read by the definition that lies in the log.

A definition is data: it is walked through, never turned into code. The package ``rosbags``, which compiles
definitions, is the judge in tests.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Window

FORMS = {
    "bool": "?", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
"""Numbers by name, as ``struct`` and NumPy call them."""
TIMES = {"time": "II", "duration": "ii"}
"""Pairs of seconds and nanoseconds that ROS 1 has as types of their own."""
SECTION = re.compile(r"^\s*=+\s*$", re.MULTILINE)
TITLE = re.compile(r"\s*MSG:\s*([\w/]+)[ \t]*(?:\n|$)")
LINE = re.compile(r"([A-Za-z][\w/]*)(?:<=\d+)?(\[(?:<=)?\d*\])?\s+([A-Za-z]\w*)\s*(.*)")
ONE, MANY = -1, -2
"""Counts of a field that is no array, and of one of any length."""
MAX_DEPTH = 20
SLACK = {"cdr": 3, "ros1": 0}
"""Bytes that may follow a message."""


@dataclass(frozen=True)
class Field:
    """One field of a message: its name, the type of its values, and how many there are."""

    name: str
    kind: str
    count: int = ONE


Definitions = Mapping[str, tuple[Field, ...]]


@lru_cache(maxsize=256)
def parse_definition(kind: str, text: str) -> Definitions:
    """Return the fields of a message type and of those that it is made of.

    Args:
        kind: name of the type, with or without ``/msg/``.
        text: its definition, those of other types behind lines of ``====``.

    Raises:
        DataError: a line is not understood, or a type is defined nowhere.
    """
    found: dict[str, tuple[Field, ...]] = {}
    for number, section in enumerate(SECTION.split(text)):
        title = TITLE.match(section) if number else None
        if number and title is None:
            raise DataError(f"{kind}: part {number} of its definition does not begin with 'MSG: package/Type'.")
        name = _plain(title[1]) if title else _plain(kind)
        body = section[title.end() :] if title else section
        found.setdefault(name, tuple(_fields(name, body)))
    for name, fields in found.items():
        absent = [field.kind for field in fields if not _is_basic(field.kind) and field.kind not in found]
        if absent:
            raise DataError(f"{kind}: {name} holds {absent[0]}, which is defined nowhere. Record with definitions.")
    return found


def decode_message(definitions: Definitions, kind: str, content: bytes, encoding: str, where: str) -> dict[str, Any]:
    """Return a message by field: numbers, text, arrays of numbers, dictionaries and lists of them.

    Args:
        definitions: as ``parse_definition`` returns them.
        kind: name of the type.
        content: the bytes.
        encoding: cdr or ros1.
        where: file and message, for messages.

    Raises:
        DataError: the bytes do not fit the definition.
    """
    window = Window(content, f"{where} ({kind})")
    order = "<"
    if encoding == "cdr":
        head = bytes(window.take(4))
        if head[:2] not in (b"\x00\x00", b"\x00\x01"):
            raise DataError(f"{window.where}: is encoded as {head[:2].hex()}, plain CDR (0000 or 0001) is read.")
        order = "<" if head[1] else ">"
    message = _Decoder(window, definitions, order, aligned=encoding == "cdr").message(_plain(kind), 0)
    if window.left > SLACK[encoding]:
        raise DataError(
            f"{window.where}: {window.left} bytes follow its last field. Its definition is of another type."
        )
    return message


class _Decoder:
    """Walks through one message."""

    def __init__(self, window: Window, definitions: Definitions, order: str, *, aligned: bool) -> None:
        self.window, self.definitions, self.order, self.aligned = window, definitions, order, aligned
        self.start = window.place
        self.budget = 1000 + window.left  # fields that take no bytes could nest without end

    def message(self, kind: str, depth: int) -> dict[str, Any]:
        fields = self.definitions[kind]
        self.budget -= 1 + len(fields)
        if depth > MAX_DEPTH or self.budget < 0:
            raise DataError(f"{self.window.where}: {kind} is nested too deeply. Restore the file from a copy.")
        if not fields and self.aligned:
            self.window.take(1)  # ROS 2 gives a message without fields one byte
        return {field.name: self._field(field, depth) for field in fields}

    def _field(self, field: Field, depth: int) -> Any:  # noqa: ANN401  (what a message holds)
        if field.count == ONE:
            return self._value(field.kind, depth)
        count = int(self._number("I")) if field.count == MANY else field.count
        if field.kind in FORMS:
            return self._array(FORMS[field.kind], count)
        if count > self.window.left:
            raise DataError(f"{self.window.where}: {field.name} has {count} values, {self.window.left} bytes are left.")
        return [self._value(field.kind, depth) for _ in range(count)]

    def _value(self, kind: str, depth: int) -> Any:  # noqa: ANN401
        if kind in FORMS:
            return self._number(FORMS[kind])
        if kind == "string":
            content = bytes(self.window.take(int(self._number("I"))))
            return content.removesuffix(b"\0" if self.aligned else b"").decode(errors="replace")
        if kind in TIMES:
            return dict(zip(("sec", "nanosec"), map(self._number, TIMES[kind]), strict=True))
        return self.message(kind, depth + 1)

    def _number(self, form: str) -> Any:  # noqa: ANN401
        size = struct.calcsize(form)
        self._align(size)
        return struct.unpack(self.order + form, self.window.take(size))[0]

    def _array(self, form: str, count: int) -> Any:  # noqa: ANN401
        kind = np.dtype(self.order + form)
        if count:
            self._align(kind.itemsize)
        content = self.window.take(count * kind.itemsize)
        if form == "?":
            return np.frombuffer(content, np.uint8) != 0
        return np.frombuffer(content, kind).astype(form, copy=False)

    def _align(self, size: int) -> None:
        if self.aligned:
            self.window.take(-(self.window.place - self.start) % size)


def _fields(owner: str, body: str) -> list[Field]:
    fields: list[Field] = []
    for line in body.splitlines():
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        match = LINE.fullmatch(bare)
        if match is None:
            raise DataError(f"{owner}: the line {bare[:80]!r} of its definition is not understood.")
        kind, array, name, rest = match.groups()
        if rest.startswith("="):  # a constant
            continue
        digits = (array or "").strip("[]")
        count = ONE if array is None else int(digits) if digits.isdigit() and len(digits) < 10 else MANY
        if digits.isdigit() and len(digits) >= 10:
            raise DataError(f"{owner}: {name} has {digits[:20]} values, which no message holds.")
        fields.append(Field(name, _resolved(kind, owner), count))
    return fields


def _resolved(kind: str, owner: str) -> str:
    """Return the full name of a type that a definition names."""
    if _is_basic(kind):
        return kind
    if kind == "Header":
        return "std_msgs/Header"
    return _plain(kind) if "/" in kind else f"{owner.rpartition('/')[0]}/{kind}"


def _is_basic(kind: str) -> bool:
    return kind in FORMS or kind in TIMES or kind == "string"


def _plain(kind: str) -> str:
    """Return package/Type of package/msg/Type."""
    return kind.replace("/msg/", "/")

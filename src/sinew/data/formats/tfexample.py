"""The protocol buffer ``tf.train.Example``, read without TensorFlow and without protobuf.

An Example is a map from names to lists; a list holds bytes, float32 or int64::

    Example  { Features features = 1; }
    Features { map<string, Feature> feature = 1; }
    Feature  { oneof { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }

Parsing slices and copies nothing, so that finding one short list in a mapped file touches a few of its pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError

BYTES, FLOATS, INTS = 1, 2, 3
NAMES = {0: "nothing", BYTES: "bytes", FLOATS: "floats", INTS: "integers"}
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
DAMAGED = "The record is damaged; restore the file from a copy."


@dataclass(frozen=True)
class Feature:
    """One list of an Example, not yet decoded.

    Attributes:
        kind: ``BYTES``, ``FLOATS``, ``INTS``, or 0 for an empty one without a type.
        body: the encoded list.
        where: file, episode and name, for messages.
    """

    kind: int
    body: memoryview
    where: str

    def count(self) -> int:
        """Return the number of values, without decoding them."""
        total = 0
        for wire, value in self._values():
            if self.kind == BYTES or wire != LENGTH:
                total += 1
            elif self.kind == FLOATS:
                total += _packed(value, self.where).nbytes // 4
            else:
                total += int((np.frombuffer(value, np.uint8) < 0x80).sum())
        return total

    def floats(self) -> NDArray[np.float32]:
        """Return the values of a list of floats, (n,).

        Raises:
            DataError: it holds something else, or is damaged.
        """
        self._want(FLOATS)
        parts = [_packed(value, self.where) for _, value in self._values()]
        return np.frombuffer(b"".join(parts), "<f4").astype(np.float32, copy=False)

    def ints(self) -> NDArray[np.int64]:
        """Return the values of a list of integers, (n,).

        Raises:
            DataError: it holds something else, or is damaged.
        """
        self._want(INTS)
        return _varints(b"".join(value for _, value in self._values()), self.where)

    def contents(self) -> Iterator[memoryview]:
        """Yield the values of a list of bytes.

        Raises:
            DataError: it holds something else, or is damaged.
        """
        self._want(BYTES)
        for _, value in self._values():
            yield value

    def _want(self, kind: int) -> None:
        if self.kind not in (kind, 0):
            raise DataError(f"{self.where}: holds {NAMES[self.kind]}, {NAMES[kind]} are needed. Correct features.json.")

    def _values(self) -> Iterator[tuple[int, memoryview]]:
        allowed = {BYTES: (LENGTH,), FLOATS: (LENGTH, FIXED32), INTS: (LENGTH, VARINT), 0: ()}[self.kind]
        for number, wire, value in fields(self.body, self.where):
            if number == 1 and wire not in allowed:
                raise DataError(f"{self.where}: a value of wire type {wire} among {NAMES[self.kind]}. {DAMAGED}")
            if number == 1:
                yield wire, value


def parse(record: memoryview, where: str) -> Mapping[str, Feature]:
    """Return the lists of an Example by name; where a name comes twice, the later one counts.

    Args:
        record: the message.
        where: file and episode, for messages.

    Raises:
        DataError: it is no Example, or damaged.
    """
    entries = (entry for features in _inside(record, 1, where) for entry in _inside(features, 1, where))
    return dict(_entry(entry, where) for entry in entries)


def fields(message: memoryview, where: str) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (number, wire type, content) of a message's fields; a varint's content is its encoded bytes.

    Raises:
        DataError: a field runs over the end, or is of a type that is not in use.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place, where)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH:
            size, place = _varint(message, place, where)
        elif wire == VARINT:
            size = _varint(message, place, where)[1] - place
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise DataError(f"{where}: wire type {wire} is none of a protocol buffer's. {DAMAGED}")
        if size > len(message) - place:
            raise DataError(f"{where}: a field of {size} bytes, where {len(message) - place} are left. {DAMAGED}")
        yield number, wire, message[place : place + size]
        place += size


def _inside(message: memoryview, number: int, where: str) -> Iterator[memoryview]:
    return (value for found, wire, value in fields(message, where) if found == number and wire == LENGTH)


def _entry(entry: memoryview, where: str) -> tuple[str, Feature]:
    """Return one entry of the map."""
    name, feature = "", memoryview(b"")
    for number, wire, value in fields(entry, where):
        if number == 1 and wire == LENGTH:
            name = _text(value, where)
        elif number == 2 and wire == LENGTH:
            feature = value
    return name, _feature(feature, f"{where}: {name}")


def _feature(message: memoryview, where: str) -> Feature:
    kind, body = 0, memoryview(b"")
    for number, wire, value in fields(message, where):
        if number in (BYTES, FLOATS, INTS) and wire == LENGTH:
            kind, body = number, value  # of a oneof the last one counts
    return Feature(kind, body, where)


def _text(content: memoryview, where: str) -> str:
    try:
        return bytes(content).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: a name is not UTF-8 ({error}). {DAMAGED}") from error


def _varint(message: memoryview, place: int, where: str) -> tuple[int, int]:
    """Return a varint and the place after it."""
    value = 0
    for shift, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place + shift + 1
    raise DataError(f"{where}: a number without an end. {DAMAGED}")


def _packed(content: memoryview, where: str) -> memoryview:
    if len(content) % 4:
        raise DataError(f"{where}: {len(content)} bytes of floats, a multiple of 4 is needed. {DAMAGED}")
    return content


def _varints(content: bytes, where: str) -> NDArray[np.int64]:
    """Return all varints of a run, decoded at once."""
    data = np.frombuffer(content, np.uint8)
    if not len(data):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    if not len(ends) or ends[-1] != len(data) - 1 or (ends - starts).max() >= 10:
        raise DataError(f"{where}: a number without an end. {DAMAGED}")
    shift = (np.arange(len(data)) - np.repeat(starts, ends - starts + 1)).astype(np.uint64) * np.uint64(7)
    parts = (data & 0x7F).astype(np.uint64) << shift
    return np.bitwise_or.reduceat(parts, starts).view(np.int64)

from __future__ import annotations

import struct

import numpy as np
import pytest

from sinew.core.errors import DataError
from sinew.data.formats.tfexample import BYTES, FLOATS, INTS, Feature, parse


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(name: str, kind: int, body: bytes) -> memoryview:
    entry = field(1, name.encode()) + field(2, field(kind, body))
    return memoryview(field(1, field(1, entry)))


def only(kind: int, body: bytes) -> Feature:
    return parse(example("x", kind, body), "here")["x"]


def test_integers_of_every_size_and_sign() -> None:
    values = [0, 1, -1, 127, 128, 300, 2**31, 2**63 - 1, -(2**63)]
    packed = only(INTS, field(1, b"".join(map(varint, values))))
    np.testing.assert_array_equal(packed.ints(), np.array(values, np.int64))
    assert packed.count() == len(values)
    single = only(INTS, b"".join(b"\x08" + varint(value) for value in values))
    np.testing.assert_array_equal(single.ints(), np.array(values, np.int64))
    assert single.count() == len(values)


def test_floats_packed_and_one_by_one() -> None:
    values = np.array([0, -1.5, np.inf, 3e38], "<f4")
    for body in (field(1, values.tobytes()), b"".join(b"\x0d" + value.tobytes() for value in values)):
        feature = only(FLOATS, body)
        np.testing.assert_array_equal(feature.floats(), values)
        assert feature.count() == 4


def test_bytes_come_as_they_are() -> None:
    feature = only(BYTES, field(1, b"") + field(1, b"\xff\x00"))
    assert [bytes(value) for value in feature.contents()] == [b"", b"\xff\x00"]
    assert feature.count() == 2


def test_a_list_without_type_is_empty() -> None:
    feature = parse(memoryview(field(1, field(1, field(1, b"x") + field(2, b"")))), "here")["x"]
    assert feature.count() == len(feature.ints()) == len(feature.floats()) == len(list(feature.contents())) == 0


def test_unknown_fields_are_passed_over() -> None:
    message = b"\x10\x05" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + bytes(example("x", INTS, field(1, b"\x07")))
    assert parse(memoryview(message), "here")["x"].ints().tolist() == [7]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\x0a\x05abc", "a field of 5 bytes, where 3 are left"),
        (b"\x0a", "a number without an end"),
        (b"\xff" * 12, "a number without an end"),
        (b"\x0b", "wire type 3"),
        (b"\x0d\x00", "a field of 4 bytes, where 1 are left"),
        (field(1, field(1, field(1, b"\xff") + field(2, b""))), "a name is not UTF-8"),
    ],
)
def test_damaged_messages_are_refused(message: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse(memoryview(message), "here")


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (FLOATS, field(1, b"abc"), "here: x: 3 bytes of floats"),
        (INTS, field(1, b"\x80"), "here: x: a number without an end"),
        (INTS, field(1, b"\x80" * 10 + b"\x01"), "a number without an end"),
        (INTS, field(1, b"\x80" * 10), "a number without an end"),
        (BYTES, b"\x08\x01", "a value of wire type 0 among bytes"),
        (FLOATS, b"\x09" + struct.pack("<d", 1), "a value of wire type 1 among floats"),
    ],
)
def test_damaged_lists_are_refused(kind: int, body: bytes, words: str) -> None:
    feature = only(kind, body)
    with pytest.raises(DataError, match=words):
        {BYTES: lambda: list(feature.contents()), FLOATS: feature.floats, INTS: feature.ints}[kind]()


def test_a_list_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="here: x: holds integers, floats are needed"):
        only(INTS, field(1, b"\x01")).floats()

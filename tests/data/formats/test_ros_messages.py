from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

from sinew.core.errors import DataError
from sinew.data.formats.ros_messages import Field, decode_message, parse_definition

STORES = {"cdr": (Stores.ROS2_HUMBLE, 2), "ros1": (Stores.ROS1_NOETIC, 1)}
LETTERS = list("abcü ")


def draw(rng: np.random.Generator, store: Any, node: Any, desc: Any) -> Any:  # noqa: ANN401
    """Return a value of a field of rosbags."""
    if node == Nodetype.NAME:
        fields = store.fielddefs[desc][1]
        return store.types[desc](**{name: draw(rng, store, *field) for name, field in fields})
    if node == Nodetype.BASE:
        if desc[0] == "string":
            return "".join(rng.choice(LETTERS, rng.integers(0, 6)))
        return float(np.float32(rng.normal())) if desc[0].startswith("float") else int(rng.integers(0, 2))
    inner, bound = desc
    count = bound if node == Nodetype.ARRAY else int(rng.integers(0, 4))
    if inner[0] == Nodetype.BASE and inner[1][0] != "string":
        kind = {"bool": "bool", "byte": "u1", "char": "u1", "octet": "u1"}.get(inner[1][0], inner[1][0])
        return rng.integers(0, 2, count).astype(kind)
    return [draw(rng, store, *inner) for _ in range(count)]


def same(one: Any, other: Any, store: Any) -> bool:  # noqa: ANN401
    """Return whether a message of rosbags holds what ours holds."""
    if isinstance(other, dict):
        names = [name for name, _ in store.fielddefs[one.__msgtype__][1]]
        if names == ["structure_needs_at_least_one_member"]:
            return True
        return len(names) == len(other) and all(
            same(getattr(one, name), value, store) for name, value in zip(names, other.values(), strict=True)
        )
    if isinstance(other, list):
        return len(one) == len(other) and all(same(a, b, store) for a, b in zip(one, other, strict=True))
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


@pytest.mark.parametrize("encoding", STORES)
def test_every_type_of_ros_is_decoded_as_rosbags_decodes_it(encoding: str) -> None:
    name, version = STORES[encoding]
    store = get_typestore(name)
    rng = np.random.default_rng(0)
    for kind in store.fielddefs:
        text = store.generate_msgdef(kind, ros_version=version)[0]
        wanted = draw(rng, store, Nodetype.NAME, kind)
        content = bytes(getattr(store, f"serialize_{encoding}")(wanted, kind))
        found = decode_message(parse_definition(kind, text), kind, content, encoding, "here")
        assert same(wanted, found, store), kind


def test_big_endian_messages_are_read() -> None:
    fields = parse_definition("a/B", "uint8 x\nfloat64[] y\n")
    content = b"\x00\x00\x00\x00" + struct.pack(">B3xI2d", 7, 2, 1.5, -2.0)
    found = decode_message(fields, "a/B", content, "cdr", "here")
    assert found["x"] == 7
    np.testing.assert_array_equal(found["y"], [1.5, -2.0])


def test_definitions_are_understood_with_remarks_defaults_and_constants() -> None:
    text = "# hello\nint32 X=3  # no field\nstring NAME = a # b\nfloat32 y 1.5\n"
    text += "string<=9[<=3] s\nC[2] c # two\n===\nMSG: a/C\n"
    assert parse_definition("a/msg/B", text) == {
        "a/B": (Field("y", "float32"), Field("s", "string", -2), Field("c", "a/C", 2)),
        "a/C": (),
    }


BAD = {
    "foo": "the line 'foo' of its definition is not understood",
    "int32 x; import os": "'int32 x; import os'|bytes follow|left",
    "Other x": "a/B holds a/Other, which is defined nowhere",
    "int32 x\n===\nint32 y": "part 1 of its definition does not begin with 'MSG",
    "int32[99999999999] x": "has 99999999999 values",
    "C x\n===\nMSG: a/C\nC y": "a/C is nested too deeply",
    "C[] x\n===\nMSG: a/C\n": "x has 50331648 values",
    "C[9] x\n===\nMSG: a/C\nC[9] y": "nested too deeply|values",
    "float64[] x": "bytes are wanted",
    "string x": "bytes are wanted",
    "uint8 x": "bytes follow its last field",
}


@pytest.mark.parametrize("text", BAD)
def test_definitions_and_bytes_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=BAD[text]):
        decode_message(parse_definition("a/B", text), "a/B", bytes([0, 0, 0, 3] * 5), "ros1", "here")


def test_work_is_bounded_where_messages_take_no_bytes() -> None:
    text = "C[30] x" + "".join(f"\n===\nMSG: a/{one}\n{two}[30] x" for one, two in zip("CDEF", "DEFG", strict=True))
    with pytest.raises(DataError, match="nested too deeply"):
        decode_message(parse_definition("a/B", f"{text}\n===\nMSG: a/G\n"), "a/B", bytes(40), "ros1", "here")


def test_other_encodings_of_cdr_are_refused() -> None:
    with pytest.raises(DataError, match="is encoded as 0007, plain CDR"):
        decode_message(parse_definition("a/B", "uint8 x"), "a/B", b"\x00\x07\x00\x00\x01", "cdr", "here")


def test_mutated_messages_are_read_or_refused() -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    rng = np.random.default_rng(0)
    for kind in ("sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray", "sensor_msgs/msg/JointState"):
        text = store.generate_msgdef(kind, ros_version=2)[0]
        whole = bytes(store.serialize_cdr(draw(rng, store, Nodetype.NAME, kind), kind))
        for _ in range(150):
            content = bytearray(whole)
            for place in rng.integers(0, len(content), 3):
                content[place] = rng.choice([0, 1, 255, rng.integers(256)])
            with contextlib.suppress(DataError):
                decode_message(parse_definition(kind, text), kind, bytes(content), "cdr", "here")
            letters = list(text)
            for place in rng.integers(0, len(letters), 3):
                letters[place] = rng.choice(list("[]<=#/\n 9a"))
            with contextlib.suppress(DataError):
                decode_message(parse_definition(kind, "".join(letters)), kind, whole, "cdr", "here")

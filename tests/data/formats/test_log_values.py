from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

from data.formats.pairs import image, png
from sinew.core.errors import DataError
from sinew.data.formats.log_file import Channel
from sinew.data.formats.log_values import decode_log, numbers_in, picture_in, reading_in, text_in
from sinew.data.formats.pictures import encode

JOINTS: dict[str, Any] = {
    "header": {"stamp": {"sec": 3, "nanosec": 4}},
    "name": ["a", "b"],
    "position": np.array([1.0, 2.0]),
    "tip": {"x": 3.0, "more": [{"y": 4}, {"y": True}]},
}
RED = np.zeros((2, 3, 3), np.uint8)
RED[..., 0] = 200
ROUND = {
    "rgb8": RED, "bgr8": RED[..., ::-1], "8UC3": RED[..., ::-1],
    "rgba8": np.concatenate([RED, RED[..., :1]], axis=2),
    "bgra8": np.concatenate([RED[..., ::-1], RED[..., :1]], axis=2),
}  # fmt: skip


def raw(pixels: Any, encoding: str, pad: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an image message, its rows ``pad`` bytes longer than their pixels."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.concatenate([rows, np.full((height, pad), 9, np.uint8)], axis=1)
    content = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": rows.shape[1]}
    return content | {"data": rows.ravel()} | changes


def test_numbers_are_flat_in_their_order_without_the_header() -> None:
    assert numbers_in(JOINTS, ["position"], [], "here").tolist() == [1, 2]
    assert numbers_in(JOINTS, ["tip.x", "position"], [], "here").tolist() == [3, 1, 2]
    assert numbers_in(JOINTS, [], [], "here").tolist() == [1, 2, 3, 4, 1]
    assert numbers_in(JOINTS, ["position"], ["b", "a"], "here").tolist() == [2, 1]
    assert numbers_in({"data": 5}, [], [], "here").tolist() == [5]


BAD: dict[str, tuple[dict[str, Any], list[str], list[str], str]] = {
    "field": (JOINTS, ["speed"], [], "has no field speed, but header, name, position, tip"),
    "below a number": (JOINTS, ["tip.x.y"], [], "has no field tip.x.y, and nothing below it"),
    "text": (JOINTS, ["name"], [], "name: holds 'a', numbers are needed"),
    "joint": (JOINTS, ["position"], ["c"], "there is no joint c, but a, b"),
    "names": (JOINTS, ["tip"], ["a"], "3 values do not come with as many names"),
    "nothing": ({"data": None}, [], [], "data: holds 'None'"),
    "huge": ({"data": 10**400}, [], [], "is no number that fits"),
}


def test_a_damaged_number_that_signals_is_read_as_no_number_and_warns_of_nothing() -> None:
    signalling = np.frombuffer(struct.pack("<Q", 0x7FF0_0000_0000_0001), np.float64)
    assert np.isnan(numbers_in({"position": signalling}, ["position"], [], "here")).tolist() == [True]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_number_is_named(name: str) -> None:
    message, fields, names, words = BAD[name]
    with pytest.raises(DataError, match=words):
        numbers_in(message, fields, names, "here")


def test_single_values_are_texts_numbers_and_bools() -> None:
    assert text_in({"data": "go"}, "data", "here") == "go"
    assert text_in({"a": {"b": True}}, "a.b", "here") is True
    with pytest.raises(DataError, match="here: data is no single value, but a list"):
        text_in({"data": []}, "data", "here")


@pytest.mark.parametrize("encoding", ROUND)
@pytest.mark.parametrize("pad", [0, 5])
def test_raw_pictures_are_read_in_every_order_of_colours(encoding: str, pad: int) -> None:
    np.testing.assert_array_equal(picture_in(raw(ROUND[encoding], encoding, pad), "here"), RED)


def test_grey_and_packed_pictures_become_rgb() -> None:
    assert picture_in(raw(RED[..., :1], "mono8"), "here").tolist() == np.full((2, 3, 3), 200).tolist()
    wanted = image(3).transpose(1, 2, 0)
    packed = {"format": "png", "data": np.frombuffer(png(3), np.uint8)}
    np.testing.assert_array_equal(picture_in(packed, "here"), wanted)
    text = {"format": "png", "data": base64.b64encode(png(3)).decode()}
    np.testing.assert_array_equal(picture_in(text, "here"), wanted)


def test_depth_is_read_raw_and_packed() -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
    np.testing.assert_array_equal(reading_in(raw(values, "16UC1", 3), [], None, "here"), values)
    swapped = raw(values.byteswap(), "mono16", is_bigendian=1)
    np.testing.assert_array_equal(reading_in(swapped, [], None, "here"), values)
    metres = values.astype(np.float32) / 1000
    found = reading_in(raw(metres, "32FC1"), [], None, "here")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, metres)
    for start, form in ((b"", "16UC1; png"), (bytes(12), "16UC1; compressedDepth png")):
        data = np.frombuffer(start + encode(values), np.uint8)
        np.testing.assert_array_equal(reading_in({"format": form, "data": data}, [], None, "here"), values)


def cloud(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a cloud of 2 x 2 points with columns of two types, rows longer than their points."""
    points = b"".join(struct.pack(">fHxx", number, 10 * number) for number in range(4))
    fields = [
        {"name": "x", "offset": 0, "datatype": 7, "count": 1},
        {"name": "i", "offset": 4, "datatype": 4, "count": 1},
    ]
    rows = np.frombuffer(points[:16] + b"????" + points[16:] + b"????", np.uint8)
    content = {"height": 2, "width": 2, "point_step": 8, "row_step": 20, "is_bigendian": True}
    return content | {"fields": fields, "data": rows} | changes


def test_clouds_are_read_by_column_and_padded() -> None:
    found = reading_in(cloud(), ["i", "x"], 6, "here")
    np.testing.assert_array_equal(found[:4], [[0, 0], [10, 1], [20, 2], [30, 3]])
    assert np.isnan(found[4:]).all()
    assert reading_in(cloud(), [], 4, "here").shape == (4, 2)


def test_lists_of_varying_length_are_padded_where_room_is_said() -> None:
    found = reading_in({"ranges": np.ones(3, np.float32)}, ["ranges"], 5, "here")
    np.testing.assert_array_equal(found, [1, 1, 1, np.nan, np.nan])
    assert reading_in({"ranges": np.ones(3, np.float32)}, ["ranges"], None, "here").shape == (3,)
    with pytest.raises(DataError, match=r"has 3 points, topics.json keeps room for 2"):
        reading_in({"ranges": np.ones(3, np.float32)}, ["ranges"], 2, "here")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "short": (raw(RED, "rgb8", height=9), r"18 bytes in rows of 9 for 9 x 3 px"),
    "narrow rows": (raw(RED, "rgb8", step=3), r"in rows of 3 for 2 x 3 px"),
    "no size": (raw(RED, "rgb8", width=0), "for 2 x 0 px"),
    "huge": (raw(RED, "rgb8", height=1 << 30, width=1 << 30), "px of 3 x u1"),
    "size of text": (raw(RED, "rgb8", height="2"), "height is 2, a whole number"),
    "bayer": (raw(RED, "bayer_rggb8"), "no picture of a known encoding"),
    "no bytes": (raw(RED, "rgb8", data=[1]), "data holds no bytes, but a list"),
    "not base 64": (raw(RED, "rgb8", data="a!"), "data holds no bytes"),
    "cut picture": ({"format": "png", "data": np.frombuffer(png(0)[:60], np.uint8)}, "not a readable image"),
    "something else": ({"a": 1}, "no picture of a known encoding"),
}


@pytest.mark.parametrize("name", WRONG)
def test_pictures_that_do_not_fit_their_header_are_refused(name: str) -> None:
    message, words = WRONG[name]
    with pytest.raises(DataError, match=words) as caught:
        picture_in(message, "here")
    assert str(caught.value).startswith("here")


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "colour": (raw(RED, "rgb8"), "no depth of a known encoding"),
    "packed colour": ({"format": "png", "data": np.frombuffer(png(0), np.uint8)}, "16-bit grey is needed"),
    "lossy": ({"format": "32FC1; compressedDepth png", "data": np.zeros(20, np.uint8)}, "lossy and not read"),
    "no room": (cloud(), "for how many to keep room: points"),
    "no columns": (cloud(fields=[]), "there is no column"),
    "odd columns": (cloud(fields=[3]), "there is no column"),
    "type": (cloud(fields=[{"name": "x", "offset": 0, "datatype": 99, "count": 1}]), "column x is of type 99"),
    "place": (cloud(fields=[{"name": "x", "offset": 6, "datatype": 7, "count": 1}]), "at 6 of 8 bytes"),
    "several": (cloud(fields=[{"name": "x", "offset": 0, "datatype": 7, "count": 2}]), "2 times"),
    "short cloud": (cloud(height=9), "40 bytes for 9 x 2 points of 8"),
    "short rows": (cloud(row_step=8), "points of 8"),
    "too many": (cloud(height=1 << 30), "points of 8"),
}


@pytest.mark.parametrize("name", ODD)
def test_readings_that_do_not_fit_are_refused(name: str) -> None:
    message, words = ODD[name]
    with pytest.raises(DataError, match=words):
        reading_in(message, [], 9 if name not in ("no room",) else None, "here")


def test_json_is_read_and_other_encodings_are_named() -> None:
    channel = Channel("/a", "Pose", "json")
    assert decode_log(channel, json.dumps({"x": 1}).encode(), "here") == {"x": 1}
    for content, words in (
        (b"{", "is not JSON"),
        (b"[]", "holds no object"),
        (b"[" * 99_999, "not JSON"),
        (b"\xff", "JSON"),
    ):
        with pytest.raises(DataError, match=words):
            decode_log(channel, content, "here")
    with pytest.raises(DataError, match=r"/a is encoded as 'protobuf'; cdr \(ROS 2\), ros1 and json are read"):
        decode_log(Channel("/a", "foxglove.Grid", "protobuf"), b"", "here")
    with pytest.raises(DataError, match=r"no definition of my_msgs/Other"):
        decode_log(Channel("/a", "my_msgs/Other", "cdr"), b"", "here")


def test_a_known_type_needs_no_definition_in_the_log() -> None:
    content = b"\0\1\0\0" + struct.pack("<I", 3) + b"hi\0"
    assert decode_log(Channel("/a", "std_msgs/msg/String", "cdr"), content, "here") == {"data": "hi"}

"""What a decoded message of a log holds: numbers, a picture, a depth image, a cloud of points, a text.

Messages are told apart by their fields, so that those of ROS 1, ROS 2 and Foxglove's JSON are read alike.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.formats.log_file import Channel
from sinew.data.formats.pictures import MAX_PIXELS, Picture, decode, decode_reading
from sinew.data.formats.ros_messages import decode_message, parse_definition
from sinew.data.formats.rosbag2_file import known_definition

Message = Mapping[str, Any]
COLOURS = {
    "rgb8": (3, 1), "bgr8": (3, -1), "8UC3": (3, -1), "rgba8": (4, 1), "bgra8": (4, -1), "mono8": (1, 1), "8UC1": (1, 1)
}  # fmt: skip
"""Channels of a raw picture by its encoding, and whether they run from red (1) or from blue (-1)."""
DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
POINTS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""Types of a point cloud's columns by the number that stands for them."""
PACKED_DEPTH = 12
"""Bytes of settings before the PNG in a compressedDepth message."""


def decode_log(channel: Channel, content: bytes, where: str) -> Message:
    """Return a message by field.

    Raises:
        DataError: encoded in a way that is not known, without a definition, or damaged.
    """
    if channel.encoding == "json":
        try:
            message = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: is not JSON ({error or 'nested too deeply'}).") from error
        if not isinstance(message, dict):
            raise DataError(f"{where}: holds no object {{...}}, but a {type(message).__name__}.")
        return message
    if channel.encoding not in ("cdr", "ros1"):
        raise DataError(
            f"{where}: {channel.topic} is encoded as {channel.encoding!r}; cdr (ROS 2), ros1 and json are read."
        )
    text = channel.definition
    if not text and channel.encoding == "cdr":
        text = known_definition(channel.kind)
    if not text:
        raise DataError(f"{where}: the log has no definition of {channel.kind}. Record it with definitions (MCAP).")
    return decode_message(parse_definition(channel.kind, text), channel.kind, content, channel.encoding, where)


def numbers_in(message: Message, fields: Sequence[str], names: Sequence[str], where: str) -> NDArray[np.float32]:
    """Return numbers of a message, (n,).

    Args:
        message: as decoded.
        fields: where they stand, see ``topic_map.Values``.
        names: joints to take.
        where: for messages.

    Raises:
        DataError: a field or a joint is missing, or holds no numbers.
    """
    parts: list[NDArray[np.float32]] = []
    for name in fields or [name for name in message if name not in ("header", "name")]:
        values = np.concatenate([np.zeros(0, np.float32), *_flat(_at(message, name, where), f"{where}: {name}")])
        parts.append(values[_joints(message, names, len(values), f"{where}: {name}")] if names else values)
    return np.concatenate([np.zeros(0, np.float32), *parts])


def text_in(message: Message, field: str, where: str) -> Any:  # noqa: ANN401  (a text, a number or a bool)
    """Return a single value of a message.

    Raises:
        DataError: it is missing, or no single value.
    """
    value = _at(message, field, where)
    if not isinstance(value, (str, int, float, bool)):
        raise DataError(f"{where}: {field} is no single value, but a {type(value).__name__}.")
    return value


def picture_in(message: Message, where: str) -> Picture:
    """Return the colour picture of a raw or compressed image message.

    Raises:
        DataError: it is none, damaged, or of an encoding that is not known.
    """
    if "format" in message and "data" in message:
        return decode(_bytes(message["data"], where), where)
    encoding = str(message.get("encoding"))
    if encoding not in COLOURS:
        raise DataError(f"{where}: is no picture of a known encoding ({encoding}); {', '.join(COLOURS)} are read.")
    channels, order = COLOURS[encoding]
    pixels = _raster(message, "u1", channels, where)
    return np.repeat(pixels, 3, axis=2) if channels == 1 else pixels[..., :3][..., ::order]


def reading_in(message: Message, fields: Sequence[str], points: int | None, where: str) -> NDArray[Any]:
    """Return a reading of a sensor: a depth image (h, w), a cloud (points, columns), or numbers.

    Raises:
        DataError: damaged, of an encoding that is not known, or longer than ``points``.
    """
    if "point_step" in message:
        return _padded(_cloud(message, fields, where), points, where, columns=True)
    if "format" in message and "data" in message:
        content, form = _bytes(message["data"], where), str(message["format"])
        if "compressedDepth" in form:
            if "32FC1" in form:
                raise DataError(f"{where}: packed 32FC1 depth is lossy and not read. Record 16UC1, or raw images.")
            content = content[PACKED_DEPTH:]
        values = decode_reading(content, where)
        if values.ndim != 2 or values.dtype != np.uint16:
            raise DataError(f"{where}: is {values.dtype} of shape {values.shape}, 16-bit grey is needed for depth.")
        return values
    if "encoding" in message and "step" in message:
        encoding = str(message["encoding"])
        if encoding not in DEPTHS:
            raise DataError(f"{where}: is no depth of a known encoding ({encoding}); {', '.join(DEPTHS)} are read.")
        return _raster(message, DEPTHS[encoding], 1, where)[..., 0]
    return _padded(numbers_in(message, fields, (), where), points, where)


def _at(message: Message, name: str, where: str) -> Any:  # noqa: ANN401  (what a message holds)
    value: Any = message
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            held = f"but {', '.join(map(str, value))}" if isinstance(value, Mapping) else "and nothing below it"
            raise DataError(f"{where}: has no field {name}, {held}. Correct topics.json.")
        value = value[part]
    return value


def _flat(value: Any, where: str) -> list[NDArray[np.float32]]:  # noqa: ANN401
    """Return all numbers of a value in their order."""
    if isinstance(value, Mapping):
        return [part for name, item in value.items() if name != "header" for part in _flat(item, where)]
    if isinstance(value, list):
        return [part for item in value for part in _flat(item, where)]
    if isinstance(value, (bool, int, float, np.ndarray)):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the episode's own check
            try:
                return [np.atleast_1d(np.asarray(value, np.float64)).astype(np.float32)]
            except (OverflowError, ValueError) as error:
                raise DataError(f"{where}: {str(value)[:40]} is no number that fits ({error}).") from error
    raise DataError(f"{where}: holds {str(value)[:40]!r}, numbers are needed. Name the fields in topics.json.")


def _joints(message: Message, names: Sequence[str], count: int, where: str) -> list[int]:
    """Return the places of joints, by the names that stand in the message."""
    said = message.get("name")
    if not isinstance(said, list) or len(said) != count:
        raise DataError(f"{where}: {count} values do not come with as many names. Leave names out of topics.json.")
    absent = [name for name in names if name not in said]
    if absent:
        raise DataError(f"{where}: there is no joint {', '.join(absent)}, but {', '.join(map(str, said))}.")
    return [said.index(name) for name in names]


def _bytes(value: Any, where: str) -> bytes:  # noqa: ANN401
    """Return bytes; JSON writes them in base 64."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return value.tobytes()
    if not isinstance(value, str):
        raise DataError(f"{where}: data holds no bytes, but a {type(value).__name__}.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: data holds no bytes ({error}).") from error


def _whole(message: Message, name: str, where: str) -> int:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise DataError(f"{where}: {name} is {str(value)[:40]}, a whole number is needed.")
    return value


def _raster(message: Message, kind: str, channels: int, where: str) -> NDArray[Any]:
    """Return the pixels of a raw image, (h, w, channels)."""
    height, width, step = (_whole(message, name, where) for name in ("height", "width", "step"))
    dtype = np.dtype(kind).newbyteorder(">" if message.get("is_bigendian") else "<")
    content, needed = _bytes(message.get("data"), where), width * channels * dtype.itemsize
    if not 0 < height * width <= MAX_PIXELS or step < needed or len(content) < height * step:
        raise DataError(
            f"{where}: {len(content)} bytes in rows of {step} for {height} x {width} px of {channels} x {kind}. "
            "The image was cut off, or its header is wrong; record it again."
        )
    rows = np.frombuffer(content, np.uint8, height * step).reshape(height, step)[:, :needed]
    return (
        np.ascontiguousarray(rows)
        .view(dtype)
        .reshape(height, width, channels)
        .astype(dtype.newbyteorder("="), copy=False)
    )


def _cloud(message: Message, fields: Sequence[str], where: str) -> NDArray[np.float32]:
    """Return the points of a PointCloud2, (n, columns)."""
    height, width, step, line = (_whole(message, name, where) for name in ("height", "width", "point_step", "row_step"))
    content = _bytes(message.get("data"), where)
    columns = {str(item["name"]): item for item in message["fields"]} if _has_columns(message) else {}
    absent = [name for name in fields if name not in columns]
    if absent or not columns:
        raise DataError(f"{where}: there is no column {', '.join(absent)}, but {', '.join(columns) or 'none'}.")
    if line < width * step or len(content) < height * line or height * width > MAX_PIXELS:
        raise DataError(f"{where}: {len(content)} bytes for {height} x {width} points of {step}. Record it again.")
    rows = np.frombuffer(content, np.uint8, height * line).reshape(height, line)[:, : width * step]
    points = np.ascontiguousarray(rows).reshape(height * width, step)
    order = ">" if message.get("is_bigendian") else "<"
    parts: list[NDArray[np.float32]] = []
    for name in fields or columns:
        offset, number, count = (_whole(columns[name], key, where) for key in ("offset", "datatype", "count"))
        kind = np.dtype(order + POINTS.get(number, "u1"))
        if number not in POINTS or offset + kind.itemsize > step or count > 1:
            raise DataError(f"{where}: column {name} is of type {number}, {count} times, at {offset} of {step} bytes.")
        part = np.ascontiguousarray(points[:, offset : offset + kind.itemsize]).view(kind)[:, 0]
        parts.append(part.astype(np.float32))
    return np.stack(parts, axis=1)


def _has_columns(message: Message) -> bool:
    fields = message.get("fields")
    return isinstance(fields, list) and all(isinstance(item, dict) and "name" in item for item in fields)


def _padded(
    values: NDArray[np.float32], points: int | None, where: str, *, columns: bool = False
) -> NDArray[np.float32]:
    """Return a reading padded with NaN at its end."""
    if points is None and columns:
        raise DataError(
            f"{where}: is a cloud of {len(values)} points. Say in topics.json for how many to keep room: points."
        )
    if points is None:
        return values
    if len(values) > points:
        raise DataError(f"{where}: has {len(values)} points, topics.json keeps room for {points}. Raise points there.")
    out = np.full((points, *values.shape[1:]), np.nan, np.float32)
    out[: len(values)] = values
    return out

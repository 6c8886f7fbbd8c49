"""Turns messages with NumPy arrays into msgpack bytes and back, without pickle and within limits."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from sinew.core.errors import DataError, require

Protocol = Literal["openpi", "vla-eval"]

MAX_ITEMS = 65536
"""Entries that all lists and maps of one message may hold together; arrays count as one."""
MAX_RANK = 8
KINDS = "biufU"
"""NumPy kinds that travel: bool, signed, unsigned, float, text. An object array would need pickle."""
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|U\d{1,6})")


def pack(content: Any, protocol: Protocol) -> bytes:  # noqa: ANN401  (any tree of plain values and arrays)
    """Return a message as bytes; arrays become the maps that the protocol's clients turn back into arrays.

    Raises:
        DataError: it holds something that cannot travel, such as an object array.
    """
    msgpack = require("msgpack", extra="serve")
    mark: Callable[[str], str | bytes] = str.encode if protocol == "openpi" else str

    def encode(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, np.generic) and value.dtype.kind in KINDS:
            return value.item()
        if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
            fields = {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": value.shape}
            return {mark(name): field for name, field in fields.items()}
        kind = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{kind} cannot be sent. Send numbers, text and arrays of bool, integer, float or text.")

    return msgpack.packb(content, default=encode)


def unpack(data: bytes | str, *, limit: int) -> Mapping[str, Any]:
    """Return the message that bytes hold, its arrays in either protocol's form decoded; they are read-only.

    Args:
        data: what came over the wire.
        limit: bytes that the message's arrays may hold together, images uncompressed.

    Raises:
        DataError: it is no msgpack map, or holds what is refused.
    """
    msgpack = require("msgpack", extra="serve")
    if isinstance(data, str):
        raise DataError(f"a text frame of {len(data)} characters came; wanted a binary one that holds a msgpack map.")
    reader = _Reader(limit)
    try:
        content = msgpack.unpackb(data, object_hook=reader.mapping, list_hook=reader.sequence, ext_hook=_refuse)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{len(data)} bytes are not a msgpack message ({error or type(error).__name__}). "
            "Send one map with text keys, packed with msgpack."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"the message is a {type(content).__name__}; wanted a map with text keys.")
    return content


def _refuse(code: int, data: bytes) -> Any:  # noqa: ANN401  (never returns)
    raise DataError(f"msgpack extension type {code} ({len(data)} bytes) is not taken. Send arrays as maps.")


class _Reader:
    """Decodes one message and counts what it holds.

    Args:
        limit: bytes of arrays that the message may hold.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.left, self.items = limit, limit, MAX_ITEMS

    def sequence(self, content: list[Any]) -> list[Any]:
        """Return a list as it is, counted."""
        self._count(len(content))
        return content

    def mapping(self, content: dict[Any, Any]) -> Any:  # noqa: ANN401
        """Return a map as it is, or the array, image or scalar that it stands for."""
        self._count(len(content))
        fields = {_text(name): value for name, value in content.items()}
        if "__ndarray__" in fields:
            return self._array(fields)
        if "__image__" in fields:
            return self._array(fields) if fields.get("format") == "raw" else self._image(fields)
        if "__npgeneric__" in fields:
            return _scalar(fields)
        return content

    def _count(self, num: int) -> None:
        self.items -= num + 1
        if self.items < 0:
            raise DataError(f"the message holds more than {MAX_ITEMS} values outside arrays. Send arrays.")

    def _spend(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if self.left < 0:
            raise DataError(
                f"the message's arrays hold more than {self.limit} bytes. "
                "Send smaller images, or start the server with a larger --max-message."
            )

    def _array(self, fields: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        dtype, data, shape = _dtype(fields.get("dtype")), fields.get("data"), self._shape(fields.get("shape"))
        wanted = math.prod(shape) * dtype.itemsize
        if not isinstance(data, bytes) or len(data) != wanted:
            found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
            raise DataError(f"an array of shape {shape} and dtype {dtype} needs {wanted} bytes; {found} came.")
        self._spend(wanted)
        return np.ndarray(shape, dtype=dtype, buffer=data)

    def _shape(self, sizes: object) -> tuple[int, ...]:
        if isinstance(sizes, list) and len(sizes) <= MAX_RANK:
            known = tuple(size for size in sizes if isinstance(size, int) and 0 <= size <= self.limit)
            if len(known) == len(sizes):
                return known
        raise DataError(f"an array of shape {str(sizes)[:80]} is not taken; wanted up to {MAX_RANK} sizes.")

    def _image(self, fields: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """Decode PNG or JPEG; the size in the header is checked before a pixel is."""
        from PIL import Image, UnidentifiedImageError

        kind, data = fields.get("format"), fields.get("data")
        if kind not in ("png", "jpeg") or not isinstance(data, bytes):
            raise DataError(f"an image in format {str(kind)[:40]!r} is not taken; wanted raw, png or jpeg bytes.")
        try:
            with Image.open(io.BytesIO(data), formats=(kind.upper(),)) as image:
                self._spend(image.width * image.height * len(image.getbands()))
                return np.asarray(image)
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"an image of {len(data)} bytes is not readable as {kind} ({error}).") from error


def _scalar(fields: Mapping[str, Any]) -> Any:  # noqa: ANN401
    value = fields.get("data")
    _dtype(fields.get("dtype"))
    if not isinstance(value, (bool, int, float, str)):
        raise DataError(f"a NumPy scalar that holds a {type(value).__name__} is not taken.")
    return value


def _dtype(name: object) -> np.dtype[Any]:
    """Return a dtype by its name, one of the few that travel; NumPy's own parser sees nothing else."""
    if not isinstance(name, str) or not DTYPE.fullmatch(name):
        raise DataError(
            f"an array of dtype {str(name)[:40]!r} is not taken; wanted bool, integer, float or text. "
            "Object arrays would need pickle, which is never read."
        )
    return np.dtype(name)


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name

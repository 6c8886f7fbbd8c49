"""The wire: what goes in comes out, and nothing dangerous does."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from PIL import Image

from sinew.core.errors import DataError
from sinew.deploy.wire import MAX_ITEMS, Protocol, pack, unpack

LIMIT = 2**20


@pytest.mark.parametrize("protocol", ["openpi", "vla-eval"])
def test_arrays_of_every_kind_come_back_as_they_were(protocol: Protocol) -> None:
    arrays = {
        "bytes": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
        "swapped": np.arange(3, dtype=">i4"),
        "half": np.array([1.5], dtype=np.float16),
        "flags": np.array([[True], [False]]),
        "text": np.array("go left"),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "single": np.array(2.5),
        "transposed": np.arange(6).reshape(2, 3).T,
    }
    back = unpack(pack({"inner": arrays}, protocol), limit=LIMIT)["inner"]
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)


def test_numpy_scalars_become_plain_values() -> None:
    content = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": None, "e": [1, "x"]}
    assert unpack(pack(content, "openpi"), limit=LIMIT) == {"a": 0.5, "b": 3, "c": True, "d": None, "e": [1, "x"]}


def test_scalars_packed_by_openpi_are_read() -> None:
    scalar = {b"__npgeneric__": True, b"data": 0.25, b"dtype": "<f8"}
    assert unpack(msgpack.packb({"x": scalar}), limit=LIMIT) == {"x": 0.25}


def test_an_object_array_is_not_sent() -> None:
    with pytest.raises(DataError, match="dtype object"):
        pack({"x": np.array([{}])}, "openpi")


def array(**changes: Any) -> dict[bytes, Any]:  # noqa: ANN401
    """Return a well-formed array of the wire with changed fields."""
    fields = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f8", "shape": [1]} | changes
    return {name.encode(): value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dtype": "|O"}, "pickle"),
        ({"dtype": "O"}, "pickle"),
        ({"dtype": "V8"}, "not taken"),
        ({"dtype": "c8"}, "not taken"),
        ({"dtype": "f8,O"}, "not taken"),
        ({"dtype": [["a", "O"]]}, "not taken"),
        ({"dtype": None}, "not taken"),
        ({"shape": [2]}, "needs 16 bytes; 8 bytes came"),
        ({"shape": [-1]}, "not taken"),
        ({"shape": [2**40, 0]}, "not taken"),
        ({"shape": "1"}, "not taken"),
        ({"shape": [1] * 9}, "up to 8"),
        ({"data": "text"}, "str came"),
    ],
)
def test_an_array_that_lies_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        unpack(msgpack.packb({"x": array(**fields)}), limit=LIMIT)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a msgpack message"),
        (b"\x81\xa1x", "not a msgpack message"),
        (b"\xc1", "not a msgpack message"),
        (b"\x81\xa1x\x01garbage", "not a msgpack message"),
        (b"\x81\xa2\xff\xff\x01", "not a msgpack message"),
        (b"\x81\x01\x01", "not a msgpack message"),
        (b"\x91" * 5000 + b"\x90", "not a msgpack message"),
        (b"\x93\x01\x02\x03", "is a list"),
        (msgpack.packb({b"x": 1}), "text keys"),
        (msgpack.packb({"x": msgpack.ExtType(5, b"abc")}), "extension type 5"),
        ("hello", "a text frame"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes | str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        unpack(data, limit=LIMIT)


def test_a_million_tiny_values_do_not_fill_the_memory() -> None:
    tiny = b"\x81\xa1x\xdc\x10\x00" + (b"\xdc\x10\x00" + b"\x90" * 4096) * 4096  # 16 M empty lists in 16 MiB
    tracemalloc.start()
    with pytest.raises(DataError, match=f"more than {MAX_ITEMS} values"):
        unpack(tiny, limit=LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(tiny)


def picture(kind: str, side: int) -> dict[str, Any]:
    """Return a square image as vla-eval's clients send it."""
    pixels = np.full((side, side, 3), (200, 100, 50), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return {"__image__": True, "format": kind, "data": file.getvalue(), "shape": [side, side, 3]}


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_compressed_images_are_decoded(kind: str) -> None:
    image = unpack(msgpack.packb({"x": picture(kind, 8)}), limit=LIMIT)["x"]
    assert image.shape == (8, 8, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() <= 2


def test_a_raw_image_is_decoded() -> None:
    raw = {"__image__": True, "format": "raw", "data": bytes(range(12)), "dtype": "|u1", "shape": [2, 2, 3]}
    assert unpack(msgpack.packb({"x": raw}), limit=LIMIT)["x"].ravel().tolist() == list(range(12))


def test_an_image_that_unpacks_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    bomb = picture("png", 4000)
    assert len(bomb["data"]) < LIMIT / 4
    data = msgpack.packb({"x": bomb})
    tracemalloc.start()
    with pytest.raises(DataError, match="--max-message"):
        unpack(data, limit=LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * LIMIT


def test_images_of_one_message_share_the_limit() -> None:
    several = {f"x{number}": picture("png", 500) for number in range(2)}  # 750 kB each
    with pytest.raises(DataError, match="--max-message"):
        unpack(msgpack.packb(several), limit=LIMIT)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"data": b"no image"}, "not readable as png"), ({"format": "gif"}, "not taken"), ({"data": "x"}, "not taken")],
)
def test_a_broken_image_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        unpack(msgpack.packb({"x": picture("png", 4) | changes}), limit=LIMIT)


def test_a_cut_image_is_refused() -> None:
    whole = picture("png", 64)
    with pytest.raises(DataError, match="not readable"):
        unpack(msgpack.packb({"x": whole | {"data": whole["data"][:60]}}), limit=LIMIT)

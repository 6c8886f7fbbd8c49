"""What a features.json of TensorFlow Datasets says of the columns of an RLDS data set, and how each is decoded."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.formats.pictures import Picture, decode, decode_reading
from sinew.data.formats.tfexample import Feature

DEPTH = 16
"""How deep features may be nested."""
LIMIT = 2**28
"""Values that one step of a column may have."""
DTYPES = {"bool", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""Types of columns that are read; text in tensors and bfloat16 are not."""


@dataclass(frozen=True)
class Leaf:
    """One column.

    Attributes:
        name: path within a step, such as ``observation/image``.
        kind: "other" is not read.
        shape: of one step; -1 where it differs.
        dtype: NumPy's name of its values.
        encoding: of a tensor: a list of numbers, raw bytes, or those through zlib.
    """

    name: str
    kind: Literal["tensor", "image", "text", "other"]
    shape: tuple[int, ...] = ()
    dtype: str = ""
    encoding: str = "none"

    @property
    def size(self) -> int:
        """Values a step."""
        return math.prod(self.shape)

    @property
    def is_camera(self) -> bool:
        """Whether it holds colour images."""
        return self.kind == "image" and self.dtype == "uint8" and self.shape[-1:] == (3,)

    @property
    def is_vector(self) -> bool:
        """Whether it is a fixed number of numbers in a row, which state and action can consist of."""
        return self.kind == "tensor" and len(self.shape) <= 1 and self.size > 0


def leaves(tree: Any, where: str, *, prefix: str = "", depth: int = 0) -> Iterator[Leaf]:  # noqa: ANN401  (JSON)
    """Yield the columns in a tree of features, in the order of the file.

    Args:
        tree: the JSON value.
        where: the file, for messages.
        prefix: path so far.
        depth: of nesting so far.

    Raises:
        DataError: it is no tree of features.
    """
    if not isinstance(tree, dict) or depth > DEPTH:
        raise DataError(f"{where}: {prefix or 'the root'} is no feature. Restore the file.")
    if isinstance(tree.get("featuresDict"), dict):
        inner = tree["featuresDict"].get("features", {})
        for name, feature in inner.items() if isinstance(inner, dict) else ():
            yield from leaves(feature, where, prefix=f"{prefix}/{name}" if prefix else name, depth=depth + 1)
        return
    for kind in ("tensor", "image"):
        if isinstance(tree.get(kind), dict):
            yield _leaf(prefix, kind, tree[kind], where)
            return
    if "classLabel" in tree:
        yield Leaf(prefix, "tensor", (), "int64")
        return
    yield Leaf(prefix, "text", dtype="text") if "text" in tree else Leaf(prefix, "other")


def steps_of(tree: Any, where: str) -> Any:  # noqa: ANN401
    """Return the features of one step.

    Raises:
        DataError: there are no steps, so that this is no data set of episodes.
    """
    features = tree.get("featuresDict", {}) if isinstance(tree, dict) else {}
    features = features.get("features", {}) if isinstance(features, dict) else {}
    steps = features.get("steps", {}) if isinstance(features, dict) else {}
    sequence = steps.get("sequence", {}) if isinstance(steps, dict) else {}
    if not isinstance(sequence, dict) or "feature" not in sequence:
        raise DataError(
            f"{where}: has no feature steps, but {', '.join(features) if isinstance(features, dict) else 'nothing'}. "
            "RLDS keeps an episode a record, with its steps as a data set inside."
        )
    return sequence["feature"]


def numbers_of(feature: Feature, leaf: Leaf, count: int) -> NDArray[Any]:
    """Return a tensor of all steps, (count, *shape), of the type that features.json says.

    Raises:
        DataError: there are more or fewer values, or the data are damaged.
    """
    dtype = np.dtype(leaf.dtype)
    if leaf.encoding != "none":
        return _unpacked(feature, leaf, count, dtype)
    values = feature.floats() if dtype.kind == "f" else feature.ints()
    if len(values) != count * leaf.size:
        raise DataError(
            f"{feature.where}: {len(values)} values for {count} steps of {leaf.size}. features.json and records must "
            "come from one data set; restore both."
        )
    if dtype.kind in "iu" and len(values):
        info = np.iinfo(dtype)
        if values.min() < info.min or values.max() > info.max:
            raise DataError(f"{feature.where}: {values.min()} to {values.max()} do not fit {dtype}. Restore the file.")
    with np.errstate(over="ignore"):
        return values.astype(dtype).reshape(count, *leaf.shape)


def pictures_of(feature: Feature, leaf: Leaf, count: int) -> Iterator[Picture]:
    """Yield the images of a camera, (h, w, 3).

    Raises:
        DataError: there are more or fewer, one is damaged, or of another size.
    """
    for number, content in enumerate(_contents(feature, count)):
        where = f"{feature.where}, frame {number}"
        picture = decode(bytes(content), where)
        _check_shape(picture.shape, leaf, where)
        yield picture


def readings_of(feature: Feature, leaf: Leaf, count: int) -> NDArray[Any]:
    """Return images that are measurements, such as depth, (count, h, w, channels), of the type in features.json.

    Raises:
        DataError: see ``pictures_of``.
    """
    out: list[NDArray[Any]] = []
    for number, content in enumerate(_contents(feature, count)):
        where = f"{feature.where}, frame {number}"
        values = decode_reading(bytes(content), where)
        if leaf.dtype == "float32":  # kept as the four bytes of each value, in a picture of four channels
            _check_shape(values.shape, Leaf(leaf.name, "image", (*leaf.shape[:2], 4)), where)
            values = np.ascontiguousarray(values).view("<f4")
        values = values[..., None] if values.ndim == 2 else values
        _check_shape(values.shape, leaf, where)
        out.append(values.astype(leaf.dtype))
    return np.stack(out)


def _contents(feature: Feature, count: int) -> Iterator[memoryview]:
    found = feature.count()
    if found != count:
        raise DataError(f"{feature.where}: {found} images for {count} steps. Restore the file from a copy.")
    return feature.contents()


def _check_shape(shape: tuple[int, ...], leaf: Leaf, where: str) -> None:
    if len(shape) != len(leaf.shape) or any(b not in (a, -1) for a, b in zip(shape, leaf.shape, strict=True)):
        raise DataError(
            f"{where}: is an image of shape {shape}, features.json says {leaf.shape}. Correct it, or restore the file."
        )


def _unpacked(feature: Feature, leaf: Leaf, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return tensors that were stored as bytes; not a byte more than wanted is ever inflated."""
    wanted, out = leaf.size * dtype.itemsize, bytearray()
    for number, content in enumerate(_contents(feature, count)):
        where = f"{feature.where}, frame {number}"
        try:
            raw = zlib.decompressobj().decompress(content, wanted + 1) if leaf.encoding == "zlib" else bytes(content)
        except zlib.error as error:
            raise DataError(f"{where}: cannot be inflated ({error}). Restore the file from a copy.") from error
        if len(raw) != wanted:
            raise DataError(f"{where}: {len(raw)} bytes, {wanted} are needed. Restore the file from a copy.")
        out += raw
    return np.frombuffer(bytes(out), dtype.newbyteorder("<")).astype(dtype).reshape(count, *leaf.shape)


def _leaf(name: str, kind: Literal["tensor", "image"], content: dict[str, Any], where: str) -> Leaf:
    shape = content.get("shape")
    dimensions = shape.get("dimensions", []) if isinstance(shape, dict) else []
    try:
        sizes = tuple(int(size) for size in dimensions)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: {name}: shape {dimensions} is no list of sizes. Restore the file.") from error
    if any(size < -1 for size in sizes) or math.prod(max(size, 1) for size in sizes) > LIMIT:
        raise DataError(f"{where}: {name}: shape {sizes} cannot be. Restore the file.")
    dtype = str(content.get("dtype", "uint8"))
    encoding = {"none": "none", "bytes": "bytes", "zlib": "zlib"}.get(str(content.get("encoding", "none")).lower())
    if dtype not in DTYPES or encoding is None or (kind == "tensor" and -1 in sizes):
        return Leaf(name, "other")
    return Leaf(name, kind, sizes, dtype, encoding)

"""Gymnasium's spaces as Minari writes them down: their parts by name, and what each part is to a robot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError

SMALLEST_IMAGE = 32
"""Height and width from which on Minari takes bytes for an image and encodes it as JPEG [px]."""
Role = Literal["camera", "vector", "text", "other"]


@dataclass(frozen=True)
class Leaf:
    """One array of observations or actions.

    Attributes:
        name: keys on the way to it, joined by dots; "" where there is only one array.
        place: in the episode's group, with slashes.
        shape: of a frame's value, images decoded.
        role: what it is to a robot.
        jpeg: it holds encoded images.
    """

    name: str
    place: str
    shape: tuple[int, ...]
    role: Role
    jpeg: bool = False

    @property
    def size(self) -> int:
        """Numbers a frame."""
        return int(np.prod(self.shape))


def parse_space(text: object, where: str) -> dict[str, Any]:
    """Return a space as it is written in metadata.json; {} where it is not.

    Raises:
        DataError: it is no JSON object.
    """
    if text is None:
        return {}
    try:
        space = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}). Restore the file.") from error
    if not isinstance(space, dict):
        raise DataError(f"{where} is {type(space).__name__}, an object is needed. Restore the file.")
    return space


def box(low: NDArray[Any], high: NDArray[Any]) -> dict[str, Any]:
    """Return a space of arrays between two of them."""
    return {
        "type": "Box",
        "dtype": str(low.dtype),
        "shape": list(low.shape),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def boundless(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return a space of all arrays of a type."""
    if np.dtype(dtype).kind == "f":
        return box(np.full(shape, -np.inf, dtype), np.full(shape, np.inf, dtype))
    limits = np.iinfo(np.dtype(dtype))
    return box(np.full(shape, limits.min, dtype), np.full(shape, limits.max, dtype))


def leaves(node: Any, space: Mapping[str, Any], place: str, *, jpeg: bool) -> Iterator[Leaf]:  # noqa: ANN401
    """Yield the arrays of observations or actions as they lie in a file.

    Args:
        node: group or array of one episode.
        space: what metadata.json says of it; {} where it says nothing.
        place: "observations" or "actions".
        jpeg: images are encoded.

    Raises:
        DataError: the space says other parts than there are.
    """
    if hasattr(node, "keys"):
        parts = _parts(space)
        for key in sorted(node):
            yield from leaves(node[key], parts.get(str(key), {}), f"{place}/{key}", jpeg=jpeg)
        return
    yield _leaf(node, space, place, jpeg=jpeg)


def bounds(space: Mapping[str, Any], place: str) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield where a finite space of numbers lies, and its lowest and highest values."""
    parts = _parts(space)
    if parts:
        for key, part in parts.items():
            yield from bounds(part, f"{place}/{key}")
        return
    try:
        low, high = (np.asarray(space[name], np.float64).reshape(-1) for name in ("low", "high"))
    except (KeyError, ValueError, TypeError):
        return
    if np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all():
        yield place, low.tolist(), high.tolist()


def _parts(space: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    parts = space.get("subspaces")
    if isinstance(parts, list):
        parts = {f"_index_{number}": part for number, part in enumerate(parts)}
    return {str(key): part for key, part in parts.items() if isinstance(part, dict)} if isinstance(parts, dict) else {}


def _leaf(node: Any, space: Mapping[str, Any], place: str, *, jpeg: bool) -> Leaf:  # noqa: ANN401
    name = place.partition("/")[2].replace("/", ".")
    said = space.get("shape")
    shape = tuple(int(part) for part in said) if isinstance(said, list) else tuple(node.shape[1:])
    if jpeg and _encoded(node, space, shape):
        return Leaf(name, place, shape, "camera" if len(shape) == 3 and shape[-1] == 3 else "other", jpeg=True)
    shape = tuple(node.shape[1:])
    return Leaf(name, place, shape, _role(node.dtype, shape))


def _role(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Role:
    if dtype.kind == "O":
        return "text"
    if len(shape) == 3 and dtype == np.uint8 and 3 in (shape[0], shape[-1]):
        return "camera"
    return "vector" if len(shape) < 2 and dtype.kind in "fiub" else "other"


def _encoded(node: Any, space: Mapping[str, Any], shape: tuple[int, ...]) -> bool:  # noqa: ANN401
    """Return whether an array holds JPEG, which Minari decides by the space."""
    image = (
        space.get("dtype") == "uint8"
        and len(shape) in (2, 3)
        and min(shape[:2]) >= SMALLEST_IMAGE
        and bool((np.asarray(space.get("low", 1)) == 0).all())
        and bool((np.asarray(space.get("high", 0)) == 255).all())
    )
    return image and len(node.shape) < len(shape) + 1

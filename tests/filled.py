"""Weights that follow from their names alone, so that another library and ours can be given the same without a file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def filled(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return an array of that shape, of a size that keeps activations near 1 through many layers."""
    count = int(np.prod(shape))
    places = np.arange(count, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode())) * np.uint64(2654435761)
    mixed = (places ^ (places >> np.uint64(15))) * np.uint64(0x9E3779B97F4A7C15)
    unit = ((mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0).reshape(shape)
    if name.endswith("running_var"):
        return (1.0 + 0.5 * unit).astype(np.float32)
    if len(shape) <= 1:
        return (0.1 * unit + (1.0 if name.endswith("weight") else 0.0)).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    gain = 0.1 if "final_conv" in name else 1.0  # else denoising makes rounding errors a thousand times larger
    return (unit * gain * (3.0 / fan_in) ** 0.5).astype(np.float32)


def fill(shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """Return arrays by name."""
    return {name: filled(name, shape) for name, shape in shapes.items()}

"""Statistics that LeRobot keeps of every feature: exact, of an episode and of the whole data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.data.formats.pictures import Picture

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def of_rows(rows: NDArray[Any]) -> dict[str, Any]:
    """Return statistics of numbers (N, n), lists of n each."""
    rows = rows.astype(np.float64)
    found = {"min": rows.min(axis=0), "max": rows.max(axis=0), "mean": rows.mean(axis=0), "std": rows.std(axis=0)}
    found |= dict(zip(QUANTILES, np.quantile(rows, list(QUANTILES.values()), axis=0), strict=True))
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(rows)]}


def histogram(picture: Picture) -> NDArray[np.int64]:
    """Return how often each value occurs in each channel, (3, 256); sums of these are of several images."""
    return np.stack([np.bincount(picture[..., channel].ravel(), minlength=256) for channel in range(3)])


def of_histogram(counts: NDArray[np.int64], num_frames: int) -> dict[str, Any]:
    """Return statistics of images by channel, values in 0 .. 1, nested as (3, 1, 1)."""
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    below = np.cumsum(counts, axis=1)
    found = {
        "min": values[(counts > 0).argmax(axis=1)],
        "max": values[255 - (counts > 0)[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0)),
    }
    for name, share in QUANTILES.items():
        found[name] = values[(below >= share * total[:, None]).argmax(axis=1)]
    return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [num_frames]}

"""Faults in the images of one episode: black, without any contrast, or standing still while the robot moves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sinew.data.episode import Episode
from sinew.data.quality.findings import Finding
from sinew.data.quality.motion import in_runs, long_while, runs

DARK = 12
"""Brightest value of an image that counts as black, of 255; films render black as up to 3."""
FLAT = 3
"""Largest difference between two values of an image that shows nothing."""
MOVED = 0.1
"""Share of a state value's range that must be passed for the robot to have moved."""
MOST = 0.9
"""Share of the frames from which on a camera counts as dead in all of them."""


def dead_cameras(episode: Episode) -> Iterator[Finding]:
    """Find cameras that show nothing, or always the same."""
    for name, images in episode.images.items():
        low, high = _extremes(images)
        dark = high <= DARK
        flat = ~dark & (high - low <= FLAT)
        stuck = _stuck(episode, images) & ~dark & ~flat
        for mask, words in (
            (dark, f"camera {name} is black"),
            (flat, f"camera {name} shows one even grey"),
            (stuck, f"camera {name} shows the same image while the robot moves"),
        ):
            severity = "error" if mask.mean() >= MOST else "warning"
            yield from in_runs(mask, "camera", severity, words)


def _extremes(images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smallest and the largest value of each image, (T,); of suspicious ones exactly, else of a grid."""
    step = (slice(None), slice(None), *(slice(None, None, max(1, size // 32)) for size in images.shape[2:]))
    grid = images[step].reshape(len(images), -1)
    low, high = grid.min(axis=1).astype(np.int64), grid.max(axis=1).astype(np.int64)
    for frame in np.flatnonzero((high <= DARK) | (high - low <= FLAT)):
        low[frame], high[frame] = images[frame].min(), images[frame].max()
    return low, high


def _stuck(episode: Episode, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which frames belong to a long run of equal images in which the robot moves, (T,)."""
    same = np.array([tick > 0 and np.array_equal(images[tick], images[tick - 1]) for tick in range(len(images))])
    found = np.zeros(len(images), bool)
    span = np.ptp(episode.state, axis=0) if episode.state.size else np.zeros(0)
    for first, last in runs(same, long_while(episode.spec)):
        moved = np.ptp(episode.state[first - 1 : last + 1], axis=0) if episode.state.size else span
        if ((moved > MOVED * span) & (span > 0)).any():
            found[first - 1 : last + 1] = True
    return found

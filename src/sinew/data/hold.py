"""How long a label holds: as long as the image around it stays as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hold:
    """When the image around a label counts as unchanged.

    Attributes:
        reach: smallest and largest half side of the patch that is watched, as shares of the image's shorter side.
            It is made as small as it can be while a move of the thing would show: the inside of an even surface
            looks the same after one.
        move: smallest move that must show, as a share of the image's shorter side; at least a pixel.
        change: largest difference, in levels of 0 .. 255, that is still no change. Differences are averaged over
            3 x 3 pixels and the colours, so that single noisy pixels do not count.
    """

    reach: tuple[float, float] = (0.03, 0.25)
    move: float = 0.015
    change: float = 12.0


HOLD = Hold()


def frames_held(images: NDArray[np.uint8], place: tuple[float, float], hold: Hold = HOLD) -> int:
    """Return for how many frames from the first on a label holds, at least 1.

    All frames are compared with the labelled one, not with the one before, so that slow moves add up; and
    the first change ends it for good, since a thing that was covered may be elsewhere afterwards. Where no
    patch would show a move the label holds for its own frame only.

    Args:
        images: (T, 3, h, w), the labelled frame and those that follow.
        place: (u, v) of the label in 0 .. 1, right and down.
        hold: what counts as unchanged.
    """
    patch = _patch(images[0], place, hold)
    if patch is None:
        return 1
    first = images[0][patch]
    for number in range(1, len(images)):
        if _difference(images[number][patch], first) > hold.change:
            return number
    return len(images)


def _patch(image: NDArray[np.uint8], place: tuple[float, float], hold: Hold) -> tuple[slice, slice, slice] | None:
    """Return the smallest patch around a place that a move changes, whichever way it goes; None without one."""
    height, width = image.shape[1:]
    down, right = int(place[1] * height), int(place[0] * width)
    smallest, largest = (max(2, round(reach * min(height, width))) for reach in hold.reach)
    step = max(1, round(hold.move * min(height, width)))
    moved = [_shift(image, *way) for way in ((0, step), (0, -step), (step, 0), (-step, 0))]
    for reach in range(smallest, largest + 1):
        rows = slice(max(0, down - reach), min(height, down + reach + 1))
        columns = slice(max(0, right - reach), min(width, right + reach + 1))
        patch = (slice(None), rows, columns)
        if min(_difference(other[patch], image[patch]) for other in moved) > hold.change:
            return patch
    return None


def _shift(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Return an image moved by whole pixels, its edges repeated."""
    wide = np.pad(image, ((0, 0), (abs(down),) * 2, (abs(right),) * 2), mode="edge")
    top, left = abs(down) - down, abs(right) - right
    return wide[:, top : top + image.shape[1], left : left + image.shape[2]]


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the largest difference of two patches (3, h, w), averaged over 3 x 3 pixels and the colours."""
    apart = np.abs(one.astype(np.int16) - other).mean(axis=0)
    wide = np.pad(apart, 1, mode="edge")
    across = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    return float((across[:-2] + across[1:-1] + across[2:]).max()) / 9

"""Finds losses far above those before them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

REMEMBERED, LEAST = 256, 64
LIMIT, LIMIT_OF_LOGARITHM, TIMES = 10.0, 6.0, 2.0
FLOOR = 1e-3
"""Least spread, as a share of the median: a loss that hardly varies has no spikes of a few per mille."""


class Spikes:
    """A robust z-score against the last losses: distance from their median over 1.4826 times the median distance.

    Positive losses are skewed, so of these the logarithms are compared. A loss is a spike where its score is above 6
    (above 10 without logarithms) and it is above twice the median. What came before a window judges the whole of it;
    then it is remembered, spikes included, so that a new level is no spike for long.

    Args:
        losses: remembered so far, oldest first.
    """

    def __init__(self, losses: Iterable[float] = ()) -> None:
        self._losses = deque(losses, maxlen=REMEMBERED)

    @property
    def losses(self) -> list[float]:
        """Those remembered, oldest first."""
        return list(self._losses)

    def judge(self, losses: Sequence[float]) -> list[int]:
        """Return the places of spikes among new losses, and remember the losses; those not finite are left out."""
        found: list[int] = []
        if len(self._losses) >= LEAST:
            wanted = _limit(np.asarray(self._losses))
            found = [place for place, loss in enumerate(losses) if math.isfinite(loss) and loss > wanted]
        self._losses.extend(loss for loss in losses if math.isfinite(loss))
        return found


def _limit(known: NDArray[np.float64]) -> float:
    """Return the loss above which a spike begins."""
    logarithmic = bool((known > 0).all())
    values = np.log(known) if logarithmic else known
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    if logarithmic:
        return math.exp(middle + max(LIMIT_OF_LOGARITHM * spread, math.log(TIMES)))
    return middle + max(LIMIT * max(spread, FLOOR * abs(middle)), (TIMES - 1) * middle)

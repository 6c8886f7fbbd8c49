"""Statistics that can be merged: parts of a data set are summed up apart and put together exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError


@dataclass(frozen=True)
class Moments:
    """What is known of N rows of D values, in float64; rows with a NaN were left out.

    Quantiles are not among them: no rule merges them, and averaged ones are wrong. They are computed from the rows.

    Attributes:
        count: N. mean: (D,).
        m2: (D,) sum of squared distances from the mean.
        low: (D,) smallest. high: (D,) largest.
    """

    count: int
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32] | NDArray[np.float64]) -> Moments:
        """Return the moments of rows (N, D); those with a NaN are left out, and none may be left."""
        known = rows[~np.isnan(rows).any(axis=1)].astype(np.float64)
        if len(known) == 0:
            size = rows.shape[1]
            return cls(0, np.zeros(size), np.zeros(size), np.full(size, np.inf), np.full(size, -np.inf))
        mean = known.mean(axis=0)
        return cls(len(known), mean, np.square(known - mean).sum(axis=0), known.min(axis=0), known.max(axis=0))

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation over the rows, (D,)."""
        return np.sqrt(self.m2 / max(1, self.count))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows (Chan 1979, eq. 2.1: no difference of large squares).

        Raises:
            DataError: they have another number of values.
        """
        if self.mean.shape != other.mean.shape:
            raise DataError(
                f"moments of {len(self.mean)} and of {len(other.mean)} values cannot be merged; "
                "only statistics of the same columns belong together."
            )
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + apart * (other.count / count),
            m2=self.m2 + other.m2 + np.square(apart) * (self.count * other.count / count),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )


def merge(*parts: Moments) -> Moments:
    """Return the moments of all parts together, at least one."""
    return reduce(Moments.merged, parts)

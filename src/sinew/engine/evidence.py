"""The record of a run as columns that a diagnosis can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One measured quantity.

    Attributes:
        updates: (n,) after which it was measured, ascending.
        values: (n,) finite.
    """

    updates: Numbers
    values: Numbers

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self.values)

    def tail(self, count: int) -> Series:
        """Return the last ``count`` values, or all where there are fewer."""
        return Series(self.updates[-count:], self.values[-count:]) if count > 0 else Series(NOTHING, NOTHING)

    def before(self, count: int) -> Series:
        """Return all but the last ``count`` values."""
        return Series(self.updates[: max(0, len(self) - count)], self.values[: max(0, len(self) - count)])

    def at(self, update: float) -> float | None:
        """Return the last value measured up to an update, None where there is none."""
        known = int(np.searchsorted(self.updates, update, side="right"))
        return float(self.values[known - 1]) if known else None

    @property
    def negative(self) -> Series:
        """The same with the other sign."""
        return Series(self.updates, -self.values)

    @property
    def last(self) -> float:
        """The newest value."""
        return float(self.values[-1])

    @property
    def median(self) -> float:
        """The middle value."""
        return float(np.median(self.values))


NOTHING: Numbers = np.zeros(0)


class Evidence:
    """Looks into rows of ``metrics.jsonl`` by column; what is missing or no finite number is left out.

    Args:
        rows: each with "update"; in any order of columns.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows
        self.names = tuple(dict.fromkeys(name for row in rows for name in row))
        self._known: dict[str, Series] = {}

    def __contains__(self, name: str) -> bool:
        """Whether a column has any value."""
        return len(self[name]) > 0

    def __getitem__(self, name: str) -> Series:
        """Return a column; an empty one where there is none."""
        if name not in self._known:
            points = [(row["update"], row[name]) for row in self.rows if isinstance(row.get(name), int | float)]
            table = np.asarray(points, dtype=np.float64).reshape(-1, 2)
            table = table[np.isfinite(table[:, 1])]
            self._known[name] = Series(table[:, 0], table[:, 1])
        return self._known[name]

    def family(self, prefix: str) -> dict[str, Series]:
        """Return the columns ``prefix/...`` by what follows the stroke."""
        found = {name.partition("/")[2]: self[name] for name in self.names if name.startswith(f"{prefix}/")}
        return {name: series for name, series in found.items() if len(series)}

    @property
    def update(self) -> int:
        """The newest update there is a row of; 0 without rows."""
        return max((int(row["update"]) for row in self.rows), default=0)

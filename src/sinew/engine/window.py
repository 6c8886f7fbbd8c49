"""What happens between two rows of the log: metrics, rows, tasks, and what the time went to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sinew.core.types import Metrics, Sized

BatchT = TypeVar("BatchT", bound=Sized)
MOST_TASKS = 32
"""Tasks whose shares are told; data with more has no columns of them."""


class Window:
    """Collects updates until a row is made of them."""

    def __init__(self) -> None:
        self._tasks: Counter[str] = Counter()
        self._metrics: list[Metrics] = []
        self.begin()

    def begin(self) -> None:
        """Begin anew, from now on."""
        self._since = time.perf_counter()
        self._rows, self._data_s = 0, 0.0
        self._metrics.clear()
        self._tasks.clear()

    def fetch(self, batches: Iterator[BatchT]) -> BatchT:
        """Return the next batch; the time it takes counts as waiting for data."""
        began = time.perf_counter()
        batch = next(batches)
        self._data_s += time.perf_counter() - began
        self._rows += batch.num_rows
        self._tasks.update(getattr(batch, "task", ()))
        return batch

    def add(self, metrics: Metrics) -> None:
        """Take the metrics of an update; tensors among them are not waited for."""
        self._metrics.append(metrics)

    def left_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else [s]."""
        self._since += seconds

    def close(self, gradients: Metrics) -> dict[str, float]:
        """Return the row of this window and begin the next.

        Args:
            gradients: measured after its last update, tensors too.
        """
        began = time.perf_counter()
        found = means([*self._metrics, gradients])
        now = time.perf_counter()
        took = max(now - self._since, 1e-9)
        found["samples_per_s"] = self._rows / took
        found["data_share"] = min(1.0, self._data_s / took)
        found["device_share"] = min(1.0, (now - began) / took)
        if 1 < len(self._tasks) <= MOST_TASKS:
            total = self._tasks.total()
            found |= {f"share/{task}": self._tasks[task] / total for task in sorted(self._tasks)}
        self.begin()
        return found


def means(window: list[Metrics]) -> dict[str, float]:
    """Return the mean of each metric over its finite values; waits for the device once, for all of them."""
    names = list(dict.fromkeys(name for metrics in window for name in metrics))
    values = {name: [metrics[name] for metrics in window if name in metrics] for name in names}
    numbers = iter(_numbers([value for name in names for value in values[name]]))
    found: dict[str, float] = {}
    for name in names:
        told = np.array([next(numbers) for _ in values[name]])
        finite = told[np.isfinite(told)]
        found[name] = float(finite.mean()) if len(finite) else float("nan")
    return found


def _numbers(values: list[Any]) -> list[float]:
    """Return 0-dim tensors and plain numbers as numbers, tensors in one copy from each device."""
    found = [0.0] * len(values)
    places: dict[torch.device, list[int]] = {}
    for place, value in enumerate(values):
        if isinstance(value, Tensor):
            places.setdefault(value.device, []).append(place)
        else:
            found[place] = float(value)
    for there in places.values():
        copied = torch.stack([values[place].detach().double() for place in there]).tolist()
        for place, number in zip(there, copied, strict=True):
            found[place] = number
    return found

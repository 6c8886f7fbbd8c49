"""What happens between two rows of the log: metrics, rows, tasks, and what the time went to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinew.core.machine import cpu_seconds
from sinew.core.types import Metrics, Sized

BatchT = TypeVar("BatchT", bound=Sized)
MOST_TASKS = 32
"""Tasks whose shares are told; data with more has no columns of them."""


class Window:
    """Collects updates until a row is made of them.

    Attributes:
        losses: of each update of the window that was closed last, as far as its metrics had one.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._tasks: Counter[str] = Counter()
        self._metrics: list[Metrics] = []
        self.begin()

    def begin(self) -> None:
        """Begin anew, from now on."""
        self._since = time.perf_counter()
        self._rows, self._data_s = 0, 0.0
        self._cpu_since = cpu_seconds()
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
        told = columns([*self._metrics, gradients])
        self.losses = told["loss"].tolist() if "loss" in told else []
        found = means(told)
        now = time.perf_counter()
        took = max(now - self._since, 1e-9)
        found["samples_per_s"] = self._rows / took
        found["data_share"] = min(1.0, self._data_s / took)
        found["cpu_s"] = cpu_seconds() - self._cpu_since
        found["device_share"] = min(1.0, (now - began) / took)
        if 1 < len(self._tasks) <= MOST_TASKS:
            total = self._tasks.total()
            found |= {f"share/{task}": self._tasks[task] / total for task in sorted(self._tasks)}
        self.begin()
        return found


def columns(window: list[Metrics]) -> dict[str, NDArray[np.float64]]:
    """Return the values of each metric in order; waits for the device once, for all of them."""
    names = list(dict.fromkeys(name for metrics in window for name in metrics))
    values = [[metrics[name] for metrics in window if name in metrics] for name in names]
    numbers = _numbers([value for column in values for value in column])
    ends = np.cumsum([len(column) for column in values])
    return dict(zip(names, np.split(numbers, ends[:-1]), strict=True)) if names else {}


def means(told: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return the mean of each metric over its finite values."""
    finite = {name: numbers[np.isfinite(numbers)] for name, numbers in told.items()}
    return {name: float(numbers.mean()) if len(numbers) else float("nan") for name, numbers in finite.items()}


def _numbers(values: Sequence[Tensor | float]) -> NDArray[np.float64]:
    """Return 0-dim tensors and plain numbers as one array; what lies on a device makes one copy."""
    alike: dict[tuple[torch.device, torch.dtype] | None, list[int]] = {}
    for place, value in enumerate(values):
        kind = (value.device, value.dtype) if isinstance(value, Tensor) else None
        alike.setdefault(kind, []).append(place)
    numbers = np.empty(len(values))
    numbers[alike.pop(None, [])] = [float(value) for value in values if not isinstance(value, Tensor)]
    if not alike:
        return numbers
    stacked = [torch.stack([torch.as_tensor(values[place]).detach() for place in group]) for group in alike.values()]
    for device in dict.fromkeys(kind[0] for kind in alike if kind is not None):
        chosen = [number for number, item in enumerate(stacked) if item.device == device]
        wide = torch.float32 if device.type == "mps" else torch.float64  # mps knows no doubles
        copied = torch.cat([stacked[number].to(wide) for number in chosen]).cpu().double().numpy()
        numbers[[place for number in chosen for place in list(alike.values())[number]]] = copied
    return numbers

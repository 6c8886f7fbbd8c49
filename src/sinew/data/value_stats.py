"""What the numbers of a data set are like, value by value: exact, from all frames, in one reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew.data.dataset import Dataset
from sinew.data.episode import Episode
from sinew.data.formats.source import Progress

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


@dataclass(frozen=True)
class ValueStats:
    """One value of one column, over all frames in which it is a number.

    Attributes:
        column: state, action, executed, reward, sensors.<name>, targets.<name> or images.<camera>.
        name: of the value; of an image its colour channel.
        unit: of the value.
        count: frames with a number; of images, pixels.
        missing: frames with NaN or infinity.
        quantiles: at 1, 10, 50, 90 and 99 %; none of images.
    """

    column: str
    name: str
    unit: str
    count: int
    missing: int
    mean: float
    std: float
    low: float
    high: float
    quantiles: tuple[float, ...]


def column_stats(
    dataset: Dataset, *, images: bool = False, on_progress: Progress | None = None
) -> tuple[ValueStats, ...]:
    """Return mean, standard deviation, range and quantiles of every value of a data set.

    All low-dimensional values are held in memory at once and summed in float64, so that quantiles are exact and the
    deviation is taken around the mean itself. Sensors of more than 64 values a frame are left out.

    Args:
        dataset: opened without images where they are not asked for.
        images: also of the colour channels, from exact integer sums.
        on_progress: called with episodes read and in all.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    for number in range(len(dataset.lengths)):
        episode = dataset.episode(number)
        for name, rows in _columns(episode):
            parts.setdefault(name, []).append(np.array(rows, dtype=np.float32))
        if images:
            _add_images(sums, episode)
        if on_progress is not None:
            on_progress(number + 1, len(dataset.lengths))
    tables = {name: np.concatenate(rows) for name, rows in parts.items()}
    found = [item for name, rows in tables.items() for item in _of_column(dataset, name, rows)]
    return tuple(found + [item for name, total in sums.items() for item in _of_images(name, total)])


def _columns(episode: Episode) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield (name, (T, n)) of the low-dimensional columns of an episode."""
    yield "state", episode.state
    yield "action", episode.action
    if episode.executed is not episode.action and not np.array_equal(episode.executed, episode.action):
        yield "executed", episode.executed
    if episode.reward is not None:
        yield "reward", episode.reward[:, None]
    for kind, group in (("sensors", episode.sensors), ("targets", episode.targets)):
        for name, rows in group.items():
            flat = rows.reshape(len(rows), -1)
            if flat.shape[1] <= 64:
                yield f"{kind}.{name}", flat


def _of_column(dataset: Dataset, name: str, rows: NDArray[np.float32]) -> Iterator[ValueStats]:
    spec = dataset.spec
    names: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "state": (spec.state, spec.state_units),
        "action": (spec.action, spec.action_units),
        "executed": (spec.action, spec.action_units),
    }
    sensor = spec.sensors.get(name.removeprefix("sensors."))
    unit = sensor.unit if sensor is not None else ""
    numbers = tuple(str(number) for number in range(rows.shape[1]))
    words, units = names.get(name, (numbers, (unit,) * rows.shape[1]))
    for number in range(rows.shape[1]):
        values = rows[:, number].astype(np.float64)
        known = values[np.isfinite(values)]
        some = known if len(known) else np.array([np.nan])
        yield ValueStats(
            column=name,
            name=words[number],
            unit=units[number],
            count=len(known),
            missing=len(values) - len(known),
            mean=float(some.mean()),
            std=float(some.std()),
            low=float(some.min()),
            high=float(some.max()),
            quantiles=tuple(np.quantile(some, QUANTILES).tolist()),
        )


def _add_images(sums: dict[str, NDArray[np.float64]], episode: Episode) -> None:
    """Add an episode's pixels to [count, sum, sum of squares, min, max] by camera and channel, (5, 3)."""
    for name, images in episode.images.items():
        total = sums.setdefault(f"images.{name}", np.array([[0.0], [0.0], [0.0], [255.0], [0.0]]).repeat(3, axis=1))
        for frame in images:
            flat = frame.reshape(3, -1)
            wide = flat.astype(np.uint64)
            total[:3] += np.stack([np.full(3, flat.shape[1]), wide.sum(axis=1), (wide * wide).sum(axis=1)])
            total[3] = np.minimum(total[3], flat.min(axis=1))
            total[4] = np.maximum(total[4], flat.max(axis=1))


def _of_images(name: str, total: NDArray[np.float64]) -> Iterator[ValueStats]:
    for channel, (count, first, second, low, high) in zip(("red", "green", "blue"), total.T, strict=True):
        mean = first / count
        yield ValueStats(
            column=name,
            name=channel,
            unit="of 255",
            count=int(count),
            missing=0,
            mean=mean,
            std=float(np.sqrt(max(second / count - mean * mean, 0.0))),
            low=low,
            high=high,
            quantiles=(),
        )

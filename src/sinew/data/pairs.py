"""Batches of two kinds: windows of robots, and images with text that keep a policy's language and sight alive."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import Batch
from sinew.data.mixture import Line
from sinew.data.sampler import walk
from sinew.data.text_lessons import Lesson

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Pair(Generic[X]):
    """One update's rows of both kinds; either loss is a mean over its own rows.

    Attributes:
        robot: windows.
        web: images with text, None in an update that none falls to.
    """

    robot: Batch[X]
    web: Lesson[X] | None

    @property
    def num_rows(self) -> int:
        """Rows of both kinds."""
        return self.robot.num_rows + (0 if self.web is None else self.web.num_rows)

    def first(self, count: int, cut: Callable[[Any, int], Any]) -> Pair[X]:
        """Return the first rows of both kinds, ``count`` together, at least one each; ``cut`` takes them of a batch."""
        share = count / self.num_rows
        robot = cut(self.robot, max(1, round(share * self.robot.num_rows)))
        return Pair(robot, None if self.web is None else cut(self.web, max(1, round(share * self.web.num_rows))))

    @property
    def ids(self) -> X | None:
        """Frame numbers of the robot rows, for dumps."""
        return self.robot.ids

    @property
    def task(self) -> tuple[str, ...]:
        """Tasks of the robot rows."""
        return self.robot.task

    @property
    def source(self) -> tuple[str, ...]:
        """Data sets of the robot rows."""
        return self.robot.source

    def map(self, convert: Callable[[X], Y]) -> Pair[Y]:
        """Return the pair with every array put through ``convert``."""
        return Pair(self.robot.map(convert), None if self.web is None else self.web.map(convert))


@dataclass(frozen=True)
class WebRows:
    """Which records join an update: ``ratio`` times as many as there are robot rows, exactly over any stretch.

    Before update k came floor(k B ratio) records, so a ratio that gives no whole number takes turns between two; they
    are walked through in orders of their own, each once an epoch. All follows from the update's number.

    Attributes:
        records: how many there are.
        ratio: records per robot row, 0.25 for one to four.
        batch: B, robot rows an update.
        seed: of the orders.
    """

    records: int
    ratio: float
    batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and self.ratio >= 0) or self.batch < 1:
            raise ConfigError(f"web ratio {self.ratio:g}, batch {self.batch}: 0 or more and at least 1 are wanted.")
        if self.records < 1 and self.ratio > 0:
            raise DataError(f"web ratio {self.ratio:g}, but there are no records. Name some, or set it to 0.")

    def before(self, update: int) -> int:
        """Return how many records came before an update."""
        return math.floor(update * self.batch * self.ratio)

    def numbers(self, update: int) -> NDArray[np.int64]:
        """Return the numbers of an update's records; may be empty."""
        begin, end = self.before(update), self.before(update + 1)
        if begin == end:
            return np.zeros(0, dtype=np.int64)
        return walk(begin, end, self.records, partial(_order, self.seed, self.records))

    def epochs(self, updates: int) -> float:
        """Return how often a run of that length sees each record."""
        return self.before(updates) / max(1, self.records)


def paired(
    robot: Iterator[Batch[X]], web: WebRows, gather: Callable[[NDArray[np.int64], int], Lesson[X]], *, start: int = 0
) -> Iterator[Pair[X]]:
    """Yield batches of both kinds from update ``start`` on.

    Args:
        robot: windows, from the same update on; as many rows each as ``web`` was told.
        web: which records join.
        gather: makes a lesson of records for an update of that number.
        start: number of the first update.
    """
    for update, batch in enumerate(robot, start):
        numbers = web.numbers(update)
        yield Pair(batch, gather(numbers, update) if len(numbers) else None)


def lines(robot: Sequence[Line], web: WebRows, updates: int) -> tuple[Line, ...]:
    """Return what each source brings to a run of that length, the conversations last; shares are of rows of both kinds.

    Args:
        robot: what the sources of windows bring, their shares among windows.
        web: which records join.
        updates: length of the run.
    """
    both = [dataclasses.replace(line, share=line.share / (1 + web.ratio)) for line in robot]
    quality = None if all(line.quality is None for line in robot) else 1.0
    share = web.ratio / (1 + web.ratio)
    return (*both, Line("web", web.records, web.records, web.ratio, share, web.epochs(updates), quality))


def _order(seed: int, records: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, epoch)).permutation(records)

"""Which frames of which source an update of a mixture sees: a function of its number and of the scores told before.

Every source is walked through in random orders of its own, so each of its frames comes exactly once an epoch of it,
however its share changes. An update of B rows draws source j either floor(B p_j) or ceil(B p_j) times (systematic
sampling, Madow 1949): the expected number is exact, and its variance is far below that of independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError
from sinew.data.config import Stage
from sinew.data.sampler import walk
from sinew.data.shares import shares, weights_at

BLOCK = 4096
"""Updates whose numbers are drawn together."""
KINDS = {"allot": 1, "order": 2, "mix": 3}
"""Streams of random numbers, apart from each other."""


@dataclass(frozen=True)
class Plan:
    """What determines who is drawn when.

    Attributes:
        frames: of each source.
        weights: of each source.
        temperature: see ``shares``.
        stages: weights over the run in place of the fixed ones; empty for none.
        updates: length of the run.
        batch: B, rows an update.
        seed: of all draws.
    """

    frames: tuple[int, ...]
    weights: tuple[float, ...]
    temperature: float = 1.0
    stages: tuple[Stage, ...] = ()
    updates: int = 1
    batch: int = 1
    seed: int = 0

    def chances(self, updates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the chance of each source at these updates, (U, S), as far as the step determines it."""
        if not self.stages:
            return np.broadcast_to(self._shares(np.asarray(self.weights)), (len(updates), len(self.frames)))
        return self._shares(weights_at(updates / max(1, self.updates), self.stages))

    def _shares(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return shares(self.frames, weights, self.temperature)


@dataclass
class Draws:
    """The sampler of a mixture; its whole state is ``changes``.

    Attributes:
        plan: what determines the draws.
        changes: (first update, factors on the weights) of each time that scores were told, ascending.
    """

    plan: Plan
    changes: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    _before: list[NDArray[np.int64]] = field(default_factory=list, repr=False)
    _block: tuple[int, NDArray[np.int64]] | None = field(default=None, repr=False)
    _orders: dict[tuple[int, int], NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        plan = self.plan
        if plan.batch < 1 or plan.updates < 1 or not plan.frames:
            raise ConfigError(
                f"a mixture of {len(plan.frames)} sources, batch {plan.batch}, {plan.updates} updates: "
                "each must be at least 1."
            )
        chances = plan.chances(np.arange(plan.updates))
        empty = [number for number, count in enumerate(plan.frames) if count < 1 and chances[:, number].any()]
        if empty:
            raise DataError(f"sources {empty} of the mixture have no frames. Leave them out, or give them weight 0.")

    @property
    def num_sources(self) -> int:
        """S."""
        return len(self.plan.frames)

    def told(self, update: int, factors: Sequence[float]) -> None:
        """Multiply the weights by these factors from an update on; later changes known so far are forgotten.

        Raises:
            ConfigError: there is not one factor a source, or one is negative.
        """
        if len(factors) != self.num_sources or min(factors) < 0:
            raise ConfigError(f"factors are {list(factors)}; {self.num_sources} numbers of 0 or more are wanted.")
        self.changes = [change for change in self.changes if change[0] < update]
        self.changes.append((update, tuple(factors)))
        self._before, self._block = self._before[: update // BLOCK + 1], None

    def chances(self, updates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the chance of each source at these updates, (U, S)."""
        chances = np.array(self.plan.chances(updates))
        for number, (first, factors) in enumerate(self.changes):
            last = self.changes[number + 1][0] if number + 1 < len(self.changes) else np.inf
            rows = (updates >= first) & (updates < last)
            chances[rows] *= factors
        return chances / chances.sum(axis=1, keepdims=True)

    def counts(self, update: int) -> NDArray[np.int64]:
        """Return how many rows of an update are of each source, (S,); they sum to the batch."""
        return self.drawn(update + 1) - self.drawn(update)

    def drawn(self, update: int) -> NDArray[np.int64]:
        """Return how many rows of each source come before an update, (S,)."""
        number, place = divmod(update, BLOCK)
        if self._block is None or self._block[0] != number:
            while len(self._before) <= number:
                known = len(self._before)
                zero = np.zeros(self.num_sources, dtype=np.int64)
                self._before.append(self._before[-1] + self._allot(known - 1).sum(axis=0) if known else zero)
            begun = self._allot(number).cumsum(axis=0)
            self._block = (number, self._before[number] + np.concatenate([np.zeros_like(begun[:1]), begun[:-1]]))
        return self._block[1][place]

    def rows(self, update: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the source and the frame within it of each row of an update, (B,) each, the sources mixed."""
        drawn = self.drawn(update)
        counts = self.drawn(update + 1) - drawn
        sources = np.repeat(np.arange(self.num_sources), counts)
        frames = [
            walk(int(begin), int(begin + count), self.plan.frames[source], partial(self._order, source))
            for source, (begin, count) in enumerate(zip(drawn, counts, strict=True))
            if count
        ]
        mixed = np.random.default_rng((self.plan.seed, KINDS["mix"], update)).permutation(len(sources))
        return sources[mixed], np.concatenate(frames)[mixed]

    def state_dict(self) -> dict[str, Any]:
        """Return what was told."""
        return {"changes": [(first, list(factors)) for first, factors in self.changes]}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take it back."""
        self.changes = [(int(first), tuple(map(float, factors))) for first, factors in state["changes"]]
        self._before, self._block = [], None

    def _allot(self, number: int) -> NDArray[np.int64]:
        """Return how many rows of each source the updates of a block have, (BLOCK, S)."""
        first = number * BLOCK
        random = np.random.default_rng((self.plan.seed, KINDS["allot"], number)).random((BLOCK, 1))
        edges = np.cumsum(self.chances(np.arange(first, first + BLOCK)), axis=1)
        edges[edges > 1 - 1e-12] = 1.0  # what rounding loses must neither lose a row nor draw what has no chance
        return np.diff(np.floor(self.plan.batch * edges + random).astype(np.int64), axis=1, prepend=0)

    def _order(self, source: int, epoch: int) -> NDArray[np.int64]:
        """Return a source's order of an epoch; its neighbours are kept, as a batch may straddle two."""
        if (source, epoch) not in self._orders:
            far = [key for key in self._orders if key[0] == source and abs(key[1] - epoch) > 1]
            for key in far:
                del self._orders[key]
            random = np.random.default_rng((self.plan.seed, KINDS["order"], source, epoch))
            self._orders[source, epoch] = random.permutation(self.plan.frames[source])
        return self._orders[source, epoch]

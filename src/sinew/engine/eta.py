"""When a run will be done: the pace of its updates, and the stops that were foreseen."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence

from sinew.engine.forecast import Stop

RECENT = 40
"""Rows whose pace counts; how busy the machine was earlier says little of the rest."""
SMALL = 0.2
"""Stops that take less than this share of a row's updates, such as writing a checkpoint, are lost in their noise."""


class Eta:
    """Learns from the rows of metrics.jsonl how fast a run is, and says how long the rest will take.

    A stop, such as a round in which a policy acts, takes as long as many updates. Rows with a stop in between
    therefore tell nothing of the pace, but of the stops: those to come are taken to deviate as those of their kind that
    were. Until the first one has passed, they are taken to deviate as the updates do.

    Where updates of one stage cost more than those of another, an update counts as often as it costs the mean one.

    Args:
        updates: length of the run.
        stops: those foreseen.
        update_s: what an update was foreseen to take, in the mean [s]; 0 when unknown.
        paces: first update, from 0, of each stage, and what each of its updates was foreseen to take [s].
    """

    def __init__(
        self,
        updates: int,
        stops: Iterable[Stop] = (),
        *,
        update_s: float = 0.0,
        paces: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.updates, self.update_s = updates, update_s
        self._paces = [(begun, seconds / update_s) for begun, seconds in paces if update_s] or [(0, 1.0)]
        self.stops = sorted(stops, key=lambda stop: stop.update)
        self._at = [stop.update for stop in self.stops]
        self._last = 0, 0.0
        self._plain: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._kinds: dict[str, tuple[float, float]] = {}
        self._warming = True

    def see(self, update: int, elapsed_s: float) -> None:
        """Take note that this many updates took this long, stops included."""
        begun, since = self._last
        if update > begun:
            self._learn(begun, update, elapsed_s - since)
        self._last = update, elapsed_s

    def pace(self) -> float | None:
        """Return what a mean update takes now, without stops [s]; None before the first row."""
        work = sum(count for count, _ in self._plain)
        if work:
            return sum(seconds for _, seconds in self._plain) / work
        return self.update_s or None

    def left(self) -> float | None:
        """Return how long the rest will take [s], None when nothing is known yet."""
        pace = self.pace()
        if pace is None:
            return None
        update = self._last[0]
        to_come = self.stops[bisect_left(self._at, update) :]
        return pace * self._work(update, self.updates) + sum(
            stop.seconds * self._factor(stop.what, pace) for stop in to_come
        )

    def _learn(self, begun: int, update: int, seconds: float) -> None:
        within = self.stops[bisect_left(self._at, begun) : bisect_left(self._at, update)]
        foreseen, pace = sum(stop.seconds for stop in within), self.pace()
        work = self._work(begun, update)
        if pace is None or foreseen <= SMALL * pace * work:
            if self._warming and self._plain:
                self._plain.clear()  # the first row pays for kernels and caches
                self._warming = False
            self._plain.append((work, max(0.0, seconds - foreseen)))
            return
        stretched = max(0.0, seconds - pace * work) / foreseen
        for stop in within:
            known, spent = self._kinds.get(stop.what, (0.0, 0.0))
            self._kinds[stop.what] = known + stop.seconds, spent + stretched * stop.seconds

    def _work(self, begun: int, update: int) -> float:
        """Return how many mean updates those from one on, up to another, are."""
        ends = [start for start, _ in self._paces[1:]] + [self.updates]
        return sum(
            max(0, min(update, end) - max(begun, start)) * cost
            for (start, cost), end in zip(self._paces, ends, strict=True)
        )

    def _factor(self, what: str, pace: float) -> float:
        """Return how much longer stops of a kind take than foreseen."""
        if what in self._kinds:
            foreseen, spent = self._kinds[what]
            return spent / foreseen
        return pace / self.update_s if self.update_s else 1.0

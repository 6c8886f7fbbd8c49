"""When a run will be done: the pace of its updates, and the stops that were foreseen."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

from sinew.engine.forecast import Stop

RECENT = 40
"""Rows whose pace counts; how busy the machine was earlier says little of the rest."""


class Eta:
    """Learns from the rows of metrics.jsonl how fast a run is, and says how long the rest will take.

    A stop, such as a round in which a policy acts, takes as long as many updates. Rows with a stop in between
    therefore tell nothing of the pace, but of the stops: those to come are taken to deviate as those that were.
    Until the first one has passed, they are taken to deviate as the updates do.

    Args:
        updates: length of the run.
        stops: those foreseen.
        update_s: what an update was foreseen to take [s]; 0 when unknown.
    """

    def __init__(self, updates: int, stops: Iterable[Stop] = (), *, update_s: float = 0.0) -> None:
        self.updates, self.update_s = updates, update_s
        self.stops = sorted(stops, key=lambda stop: stop.update)
        self._at = [stop.update for stop in self.stops]
        self._last = 0, 0.0
        self._plain: deque[tuple[int, float]] = deque(maxlen=RECENT)
        self._foreseen = self._spent = 0.0

    def see(self, update: int, elapsed_s: float) -> None:
        """Take note that this many updates took this long, stops included."""
        begun, since = self._last
        if update > begun:
            self._learn(begun, update, elapsed_s - since)
        self._last = update, elapsed_s

    def pace(self) -> float | None:
        """Return what an update takes now, without stops [s]; None before the first row."""
        updates = sum(count for count, _ in self._plain)
        if updates:
            return sum(seconds for _, seconds in self._plain) / updates
        return self.update_s or None

    def left(self) -> float | None:
        """Return how long the rest will take [s], None when nothing is known yet."""
        pace = self.pace()
        if pace is None:
            return None
        update = self._last[0]
        to_come = sum(stop.seconds for stop in self.stops[bisect_left(self._at, update) :])
        return pace * (self.updates - update) + to_come * self._factor(pace)

    def _learn(self, begun: int, update: int, seconds: float) -> None:
        within = self.stops[bisect_left(self._at, begun) : bisect_left(self._at, update)]
        foreseen = sum(stop.seconds for stop in within)
        pace = self.pace()
        if not foreseen:
            self._plain.append((update - begun, seconds))
        elif pace is not None:
            self._foreseen += foreseen
            self._spent += max(0.0, seconds - pace * (update - begun))

    def _factor(self, pace: float) -> float:
        """Return how much longer stops take than foreseen."""
        if self._foreseen:
            return self._spent / self._foreseen
        return pace / self.update_s if self.update_s else 1.0
